"""How long a training lasts, and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from p2p_deploy.errors import DataError
from trainers.options import TrainingOptions


@dataclass(frozen=True)
class Schedule:
    """How long to train: ``steps`` optimisation steps of ``batch`` pictures; ``pictures`` of them are an epoch.

    ``batch`` counts the pictures of all processes and of all batches whose gradients are added up.
    """

    steps: int
    batch: int
    pictures: int
    shape: str = "linear"

    @classmethod
    def plan(cls, pictures: int, options: TrainingOptions, processes: int = 1) -> Schedule:
        """From a number of steps, or else of epochs.

        Raises:
            DataError: nothing would be trained.
        """
        batch = options.batch * options.accumulate * processes
        steps = math.ceil(options.epochs * pictures / batch) if options.steps is None else options.steps
        if min(pictures, steps) < 1:
            raise DataError(
                f"Nothing to train: {pictures} pictures in batches of {batch} for "
                f"{f'{options.epochs} epochs' if options.steps is None else f'{options.steps} steps'}; "
                "each must be at least 1."
            )
        return cls(steps, batch, pictures, options.schedule)

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that the first picture of ``step``, from 0, belongs to."""
        return step * self.batch // self.pictures

    def learning_rate_factor(self, step: int) -> float:
        """For ``step``, from 0.

        ``linear``: 1 for the first half of the epochs, then down by the same amount each epoch, to near 0. Isola et
        al., and the reference implementation: 1 - max(0, epoch - n_const) / (n_decay + 1), epoch from 0.
        """
        if self.shape == "constant":
            return 1.0
        if self.shape == "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / self.steps))
        epochs = self.epoch(self.steps - 1) + 1
        constant = math.ceil(epochs / 2)
        return 1 - max(0, self.epoch(step) - constant) / (epochs - constant + 1)
