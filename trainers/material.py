"""What a training is about, before any device is touched: a network that is described, and data that were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from p2p_deploy.spec import ModelSpec


@dataclass(frozen=True)
class Material:
    """What a system learns from. The items of every data set are known by (epoch, index).

    Attributes:
        spec: of the network that will be deployed.
        training: what is learnt from.
        held_out: what is measured and not learnt from; neither cropped nor flipped at random; may be empty.
        shown: whose first items are in the samples.
        notes: what the checkpoint notes of it: how many pictures, which classes.
    """

    spec: ModelSpec
    training: Dataset[Any]
    held_out: Dataset[Any]
    shown: Dataset[Any]
    notes: Mapping[str, Any]
