"""What a training shows of itself: scalars, sample pictures, measures of held-out pictures, and warnings."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from p2p_deploy.errors import Failed, OutputError
from p2p_deploy.files import replacing
from p2p_deploy.media.image.files import encode_image
from p2p_deploy.pixels import to_channels
from trainers.data import to_pixels
from trainers.launch import LOGS
from trainers.metrics import Metrics
from trainers.system import System

SAMPLES = "samples"
# Outputs that differ from one another by less than this share of what their targets do have collapsed.
COLLAPSED = 0.05
FORMED = 200  # steps, before which outputs look alike because nothing has been learnt
SURE = 0.01  # a discriminator whose losses stay below has nothing left to teach
SURE_FOR = 500  # steps


def log(fabric: Fabric, run: Path, values: dict[str, float], step: int) -> None:
    """Write scalars for TensorBoard.

    Raises:
        OutputError: the disk does not take them.
    """
    with _logs_in(run):
        fabric.log_dict(values, step=step)


def end_logs(fabric: Fabric, run: Path) -> None:
    """Write what is buffered. Raises like ``log``."""
    with _logs_in(run):
        fabric.logger.finalize("success")


@contextlib.contextmanager
def _logs_in(run: Path) -> Iterator[None]:
    """Say why logs cannot be written; the logger wraps the disk's error into a ValueError about something else."""
    try:
        yield
    except (OSError, ValueError) as exc:
        cause = exc if isinstance(exc, OSError) else exc.__cause__
        if not isinstance(cause, OSError):
            raise
        raise OutputError(f"The logs in {run / LOGS} cannot be written: {cause.strerror or cause}.") from exc


def check_finite(losses: dict[str, float], step: int) -> None:
    """Raise Failed when a loss is no longer a number."""
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        raise Failed(
            f"The training diverged: {', '.join(broken)} is not a finite number at step {step}. The last checkpoint is "
            "from before. Look for broken pictures in the data, or train again with another `seed`."
        )


class HealthChecks:
    """Notices what makes a training useless long before it ends."""

    def __init__(self) -> None:
        self._sure_since: int | None = None
        self._said: set[str] = set()

    def of_losses(self, losses: dict[str, float], step: int) -> str | None:
        """A sentence, once, when the discriminator has won for ``SURE_FOR`` steps."""
        judged = [value for name, value in losses.items() if name.startswith("D_")]
        if not judged or max(judged) > SURE:
            self._sure_since = None
            return None
        self._sure_since = self._sure_since or step
        if step - self._sure_since < SURE_FOR:
            return None
        return self._once(
            f"The discriminator is sure of everything since step {self._sure_since} (losses below {SURE}), so the "
            "generator learns nothing from it. Too few pictures, or too wide a discriminator."
        )

    def of_samples(self, columns: list[Tensor], step: int) -> str | None:
        """A sentence, once, when all outputs look alike although the targets do not."""
        if step < FORMED or len(columns) < 3 or len(columns[0]) < 2:
            return None
        outputs, targets = columns[1], columns[-1]
        spread, expected = (float(each.float().std(dim=0).mean()) for each in (outputs, targets))
        if spread >= COLLAPSED * expected:
            return None
        return self._once(
            f"All outputs look alike at step {step} (they differ by {spread:.4f}, the targets by {expected:.4f}): the "
            "generator has collapsed, unless that is what is wanted. Try another `seed`."
        )

    def _once(self, sentence: str) -> str | None:
        kind = sentence.partition(" ")[2][:20]
        if kind in self._said:
            return None
        self._said.add(kind)
        return sentence


@contextlib.contextmanager
def _evaluating(system: System) -> Iterator[None]:
    """Networks as they will be deployed: running statistics, no dropout, nothing learnt."""
    training = [network for network in system.networks.values() if network.training]
    for network in training:
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for network in training:
            network.train()


def show(system: System, batch: Any) -> list[Tensor]:
    """Sample columns of what will be deployed."""
    with _evaluating(system):
        return [column.cpu() for column in system.show(batch)]


def write_samples(path: Path, columns: list[Tensor]) -> None:
    """One row for each picture, its columns side by side."""
    rows = [np.hstack([to_channels(to_pixels(image), 3) for image in images]) for images in zip(*columns, strict=True)]
    with replacing(path) as temporary:
        temporary.write_bytes(encode_image(np.vstack(rows), ".png"))


def measure(system: System, held_out: Iterable[Any], metrics: Metrics) -> dict[str, float]:
    """What the metrics say of held-out pictures; empty without any."""
    if metrics.best is None:
        return {}
    with _evaluating(system):
        for batch in held_out:
            metrics.update(*system.compare(batch))
        return metrics.compute()
