"""``train``: one function for every system. What differs between them is in the file of the system."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2p_deploy.errors import DataError, require
from p2p_deploy.reports import Report
from trainers.options import SYSTEM_OPTIONS, TrainingOptions

# The module and the class of each system.
SYSTEMS = {
    "pix2pix": ("pix2pix", "Pix2Pix"),
    "cyclegan": ("cyclegan", "CycleGAN"),
    "pix2pixhd": ("pix2pixhd", "Pix2PixHD"),
    "spade": ("spade", "SPADE"),
    "gan": ("gan", "GAN"),
    "cgan": ("gan", "GAN"),
}


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training is.

    Attributes:
        step: steps done, from 1.
        steps: steps there will be.
        epoch: epochs begun, from 1.
        losses: losses by name, refreshed every few steps.
        measures: of held-out pictures, when they were last measured.
        warning: a sentence about what goes wrong, when it is noticed.
    """

    step: int
    steps: int
    epoch: int
    losses: Mapping[str, float]
    measures: Mapping[str, float]
    warning: str | None = None


@dataclass(frozen=True)
class TrainingReport(Report):
    """What a training made.

    Attributes:
        system: what was trained.
        checkpoint: the last checkpoint, ``run/ckpt.pt``, which ``p2p_deploy.export`` takes.
        best: the best one by the measure that was asked for; None without held-out pictures.
        step: steps done.
        steps: steps that were wanted; more than ``step`` where it was cancelled.
        seconds: wall time.
        losses: the last losses by name.
        measures: of held-out pictures, of the last step; empty without any.
    """

    system: str
    checkpoint: Path
    best: Path | None
    step: int
    steps: int
    seconds: float
    losses: Mapping[str, float]
    measures: Mapping[str, float]


def train(
    system: str,
    data: str | Path,
    run: str | Path,
    options: TrainingOptions | None = None,
    *,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
) -> TrainingReport:
    """Train a network on pictures.

        >>> import trainers
        >>> options = trainers.Pix2PixOptions(size=32, ngf=4, steps=2, device="cpu")
        >>> report = trainers.train("pix2pix", "pairs", "run", options)
        >>> report.step, report.checkpoint.name
        (2, 'ckpt.pt')

    Args:
        system: ``pix2pix``, ``cyclegan``, ``pix2pixhd``, ``spade``, ``gan`` or ``cgan``.
        data: the data set; its layout is the system's, see ``docs/cli.md``.
        run: the folder that gets ``ckpt.pt``, ``best.pt``, ``samples/``, ``report.html`` and TensorBoard logs.
        options: of the system's class in ``trainers.options``; None takes its defaults.
        on_progress: called after every step, in the first process only.
        cancel: set it to end after the step under way, with a checkpoint of it.

    Raises:
        DataError, SpecError: the data or an option cannot be used.
        DeviceError, MissingDependency: the device or a package is not there.
        OutputError: the run exists already, or cannot be written.
        CheckpointError: there is nothing that could be gone on from.
        Failed: the training diverged, or memory is out.
    """
    if system not in SYSTEMS:
        raise DataError(f"{system!r} is no system; expected one of {', '.join(SYSTEMS)}.")
    options = SYSTEM_OPTIONS[system]() if options is None else options
    if type(options) is not SYSTEM_OPTIONS[system]:
        raise DataError(f"{system} takes {SYSTEM_OPTIONS[system].__name__}, got {type(options).__name__}.")
    for module in ("torch", "lightning_fabric", "tensorboard", "torchmetrics"):
        require(module, "train", "Training")
    from trainers.launch import make_fabric
    from trainers.loop import BEST, CHECKPOINT, Loop

    started, run = time.perf_counter(), Path(run)
    module_name, class_name = SYSTEMS[system]
    kind = getattr(importlib.import_module(f"trainers.{module_name}"), class_name)
    material = kind.material(Path(data), options)
    fabric = make_fabric(options, run)
    loop = Loop(kind(fabric, options, material.spec), material, run, system)
    loop.go(on_progress, cancel or threading.Event())
    best = run / BEST
    return TrainingReport(
        system=system,
        checkpoint=run / CHECKPOINT,
        best=best if best.exists() else None,
        step=loop.step,
        steps=loop.schedule.steps,
        seconds=time.perf_counter() - started,
        losses=loop.losses,
        measures=loop.measures,
    )
