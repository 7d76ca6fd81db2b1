"""The training loop that every system shares: steps, learning rate, logs, sample pictures, checkpoints."""

from __future__ import annotations

import contextlib
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from torch import Tensor, nn

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.errors import DataError, DeviceError, Failed, OutputError
from p2p_deploy.files import replacing
from p2p_deploy.media.images import encode_image
from p2p_deploy.pixels import to_channels
from p2p_deploy.spec import ModelSpec
from trainers.data import to_pixels

CHECKPOINT = "ckpt.pt"
SAMPLES, LOGS = "samples", "tensorboard"
LOG_EVERY = 10
SAMPLE_EVERY = 500


class System(Protocol):
    """What the loop needs of a system."""

    generator: nn.Module
    optimizers: list[torch.optim.Optimizer]

    def step(self, batch: Any) -> dict[str, Tensor]:
        """One optimisation step on a batch; returns detached scalar losses by name."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        step: steps done, from 1.
        steps: steps there will be.
        epoch: epochs begun, from 1.
        losses: losses by name, refreshed every ``LOG_EVERY`` steps.
    """

    step: int
    steps: int
    epoch: int
    losses: dict[str, float]


@dataclass(frozen=True)
class Schedule:
    """How long to train: ``steps`` optimisation steps of ``batch`` pictures; ``pictures`` of them are an epoch."""

    steps: int
    batch: int
    pictures: int

    @classmethod
    def plan(cls, pictures: int, batch: int, *, steps: int | None, epochs: int) -> Schedule:
        """From a number of steps, or else of epochs.

        Raises:
            DataError: nothing would be trained.
        """
        if min(pictures, batch, epochs if steps is None else steps) < 1:
            raise DataError(
                f"Nothing to train: {pictures} pictures in batches of {batch} for "
                f"{f'{epochs} epochs' if steps is None else f'{steps} steps'}; each must be at least 1."
            )
        return cls(math.ceil(epochs * pictures / batch) if steps is None else steps, batch, pictures)

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that the first picture of ``step``, from 0, belongs to."""
        return step * self.batch // self.pictures

    def learning_rate_factor(self, step: int) -> float:
        """For ``step``, from 0: 1 for the first half of the epochs, then down by the same amount each epoch, to near 0.

        Isola et al., and the reference implementation: 1 - max(0, epoch - n_const) / (n_decay + 1), epoch from 0.
        """
        epochs = self.epoch(self.steps - 1) + 1
        constant = math.ceil(epochs / 2)
        return 1 - max(0, self.epoch(step) - constant) / (epochs - constant + 1)


def make_fabric(device: str, run: Path) -> Fabric:
    """Fabric on one device, logging to TensorBoard in ``run``.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda:N``.
        run: the folder of the run.

    Raises:
        DeviceError: the GPU is not there.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", device):
        raise DeviceError(f"Unknown device {device!r}; expected auto, cpu or cuda:N such as cuda:0.")
    index = int(number or 0)
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise DeviceError(
            f"{device} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs. "
            "Take --device cpu."
        )
    logger = TensorBoardLogger(run, name="", version=LOGS)
    return Fabric(accelerator=kind, devices=[index] if kind == "cuda" else 1, loggers=logger)


def prepare_run(run: Path, overwrite: bool) -> None:
    """Make the folder of a run, without the samples and logs of one that is overwritten.

    Raises:
        OutputError: it already holds a checkpoint, or cannot be made.
    """
    if (run / CHECKPOINT).exists() and not overwrite:
        raise OutputError(
            f"{run / CHECKPOINT} exists already. Choose another folder, or pass --overwrite to replace it."
        )
    try:
        (run / SAMPLES).mkdir(parents=True, exist_ok=True)
        for old in (*(run / SAMPLES).glob("step-*.png"), *(run / LOGS).glob("events.out.tfevents.*")):
            old.unlink()
    except OSError as exc:
        raise OutputError(f"{exc.filename or run} cannot be written: {exc.strerror}.") from exc


def fit(
    fabric: Fabric,
    system: System,
    batches: Iterable[Any],
    *,
    schedule: Schedule,
    spec: ModelSpec,
    run: Path,
    preview: tuple[Tensor, Tensor],
    training: dict[str, Any],
    on_progress: Callable[[Progress], None],
    cancel: threading.Event,
) -> Path:
    """Train, and return the checkpoint.

    Args:
        fabric: the device; its logger gets the losses.
        system: what is trained.
        batches: endless.
        schedule: how long.
        spec: what the generator is; goes into the checkpoint.
        run: gets ``ckpt.pt``, ``samples/`` and the TensorBoard logs.
        preview: (inputs, targets) shown in the sample pictures, (N, C, H, W) in [-1, 1].
        training: the options, kept in the checkpoint.
        on_progress: called after every step.
        cancel: set it to end after the step under way, with a checkpoint of it.

    Raises:
        Failed: a loss is no longer a finite number.
        OutputError: a file cannot be written.
    """
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.learning_rate_factor) for optimizer in system.optimizers
    ]
    losses: dict[str, float] = {}
    for step, batch in zip(range(1, schedule.steps + 1), batches, strict=False):
        values = system.step(batch)
        last = step == schedule.steps or cancel.is_set()
        if step % LOG_EVERY == 0 or step == 1 or last:
            losses = {name: value.item() for name, value in values.items()}
            _check_finite(losses, step)
            with _logs_in(run):
                fabric.log_dict({**losses, "learning_rate": schedulers[0].get_last_lr()[0]}, step=step)
        if step % SAMPLE_EVERY == 0 or last:
            _write_samples(run / SAMPLES / f"step-{step:07d}.png", system.generator, preview)
            save_checkpoint(run / CHECKPOINT, spec, system.generator, {**training, "step": step, "losses": losses})
        for scheduler in schedulers:
            scheduler.step()
        on_progress(Progress(step, schedule.steps, schedule.epoch(step - 1) + 1, losses))
        if last:
            break
    with _logs_in(run):
        fabric.logger.finalize("success")
    return run / CHECKPOINT


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


def _check_finite(losses: dict[str, float], step: int) -> None:
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        raise Failed(
            f"The training diverged: {', '.join(broken)} is not a finite number at step {step}. The last checkpoint is "
            "from before. Look for broken pictures in the data, or train again with another --seed."
        )


@torch.no_grad()
def _write_samples(path: Path, generator: nn.Module, preview: tuple[Tensor, Tensor]) -> None:
    """One row for each preview: input, output as it will be deployed (running statistics, no dropout), target."""
    inputs, targets = preview
    generator.eval()
    outputs = generator(inputs.to(next(generator.parameters()).device))
    generator.train()
    rows = [
        np.hstack([to_channels(to_pixels(image), 3) for image in images])
        for images in zip(inputs, outputs, targets, strict=True)
    ]
    with replacing(path) as temporary:
        temporary.write_bytes(encode_image(np.vstack(rows), ".png"))
