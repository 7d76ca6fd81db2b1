"""Normalisation layers by name, with the settings the published networks use."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from p2p_deploy.spec.checks import check_choice

MAX_WIDTH = 4096  # of a first layer
Norm = Literal["batch", "instance", "none"]


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """BatchNorm with scale, shift and running statistics; InstanceNorm with none of them; or nothing at all.

    Raises:
        SpecError: for another name.
    """
    check_choice("norm", norm, get_args(Norm))
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.Identity()
