"""Trainings in tests."""

from dataclasses import replace
from pathlib import Path

import trainers
from trainers import SYSTEM_OPTIONS, TrainingOptions


def train(data: Path, run: Path, options: TrainingOptions, *, resume=False, overwrite=False, **callbacks) -> Path:
    """Train the system that the options are of, and give the checkpoint."""
    (system,) = (name for name, kind in SYSTEM_OPTIONS.items() if kind is type(options))
    options = replace(options, resume=resume, overwrite=overwrite)
    return trainers.train(system, data, run, options, **callbacks).checkpoint
