"""Training: ``train`` for every system, whose files read from top to bottom, and what they share.

A training ends in a checkpoint that ``p2p_deploy.export`` takes without being told anything. Importing this package
loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trainers.options import (
    SYSTEM_OPTIONS,
    CGANOptions,
    CycleGANOptions,
    GANOptions,
    Pix2PixHDOptions,
    Pix2PixOptions,
    SPADEOptions,
    TrainingOptions,
)
from trainers.training import SYSTEMS, TrainingProgress, TrainingReport, train

if TYPE_CHECKING:
    from trainers.data_check import DataReport, check_data

__all__ = [
    "SYSTEMS",
    "SYSTEM_OPTIONS",
    "CGANOptions",
    "CycleGANOptions",
    "DataReport",
    "GANOptions",
    "Pix2PixHDOptions",
    "Pix2PixOptions",
    "SPADEOptions",
    "TrainingOptions",
    "TrainingProgress",
    "TrainingReport",
    "check_data",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("DataReport", "check_data"):  # which load torch
        return getattr(importlib.import_module("trainers.data_check"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
