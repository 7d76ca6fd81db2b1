"""Normalisation layers by name, with the settings the published networks use."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from p2p_deploy.errors import SpecError

Norm = Literal["batch", "instance", "none"]


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """BatchNorm with scale, shift and running statistics; InstanceNorm with none of them; or nothing at all.

    Raises:
        SpecError: for another name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    if norm == "none":
        return nn.Identity()
    raise SpecError(f"norm must be one of {', '.join(get_args(Norm))}; got {norm!r}.")
