"""The training loop that every system shares: steps, learning rate, checkpoints, and going on from one.

What is random in a step, dropout and noise and the exchange of pictures, is drawn from a generator that is seeded with
(seed, step, process); the order of pictures and their crops are functions of (seed, epoch, index). So a training that
goes on from a checkpoint needs no state of any random generator, and takes the same steps to the last bit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.checkpoints.native import read_training
from p2p_deploy.checkpoints.reading import read_file
from p2p_deploy.errors import CheckpointError, DataError, Failed, OutputError
from p2p_deploy.files import link_or_copy, replacing
from trainers import health
from trainers.data import HeldOut, loader_of
from trainers.health import SAMPLES
from trainers.launch import LOGS
from trainers.material import Material
from trainers.metrics import BETTER_WHEN_LESS, Metrics
from trainers.networks import plain
from trainers.report import write_report
from trainers.schedule import Schedule
from trainers.system import System
from trainers.training import TrainingProgress

CHECKPOINT, BEST = "ckpt.pt", "best.pt"
EARLIER = "checkpoints"
LOG_EVERY = 10
# Options that a training may go on with otherwise than it began.
MAY_CHANGE = frozenset(
    (
        *("steps", "epochs", "device", "workers", "save_every", "keep", "validate_every"),
        *("inception", "lpips", "vgg", "coarse"),
    )
)


def prepare_run(run: Path, *, overwrite: bool, resume: bool) -> None:
    """Make the folder of a run, without the samples and logs of one that is overwritten.

    Raises:
        OutputError: it already holds a checkpoint, or none to go on from, or cannot be made.
    """
    there = (run / CHECKPOINT).exists()
    if resume and not there:
        raise OutputError(f"{run / CHECKPOINT} does not exist, so there is nothing to go on from. Leave out `resume`.")
    if there and not overwrite and not resume:
        raise OutputError(
            f"{run / CHECKPOINT} exists already. Choose another folder, `resume=True` to go on, or "
            "`overwrite=True` to replace it."
        )
    try:
        (run / SAMPLES).mkdir(parents=True, exist_ok=True)
        if resume:
            return
        for old in (
            *(run / SAMPLES).glob("step-*.png"),
            *(run / LOGS).glob("events.out.tfevents.*"),
            *(run / EARLIER).glob("step-*.pt"),
            *(run / name for name in (CHECKPOINT, BEST) if (run / name).exists()),
        ):
            old.unlink()
    except OSError as exc:
        raise OutputError(f"{exc.filename or run} cannot be written: {exc.strerror}.") from exc


class Loop:
    """One training under way.

    Attributes:
        schedule: how many steps there will be.
        step: steps done.
        losses: the last ones that were looked at.
        measures: the last ones.
    """

    def __init__(self, system: System, material: Material, run: Path, name: str) -> None:
        """``name`` is what the system is called."""
        self.system, self.material, self.run = system, material, run
        self.fabric, self.options = fabric, options = system.fabric, system.options
        self.schedule = Schedule.plan(len(material.training), options, fabric.world_size)  # type: ignore[arg-type]
        own = {key: value for key, value in asdict(options).items() if key not in ("resume", "overwrite")}
        self.training = {"system": name, **material.notes, "options": own}
        self.preview = system.preview(material)
        self.held_out = HeldOut(material.held_out, options.batch, fabric.device)
        self.step = 0
        self.losses: dict[str, float] = {}
        self.measures: dict[str, float] = {}
        self.best: float | None = None
        self.health_checks = health.HealthChecks()
        self.metrics = Metrics(options, paired=system.paired, device=fabric.device)
        self.rates = {name: [g["lr"] for g in o.param_groups] for name, o in system.optimizers.items()}
        self.average = (
            AveragedModel(system.generator, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True)
            if options.ema
            else None
        )

    @property
    def deployed(self) -> nn.Module:
        """The generator, or the average of it."""
        return self.average.module if self.average else self.system.generator

    def go(self, on_progress: Callable[[TrainingProgress], None], cancel: threading.Event) -> None:
        """Train to the end, or until told to stop. Raises like ``training.train``."""
        if self.fabric.is_global_zero:  # not before: what is refused leaves everything as it was
            prepare_run(self.run, overwrite=self.options.overwrite, resume=self.options.resume)
        self.fabric.barrier()
        if self.options.resume:
            self._load()
        start = self.step * self.options.accumulate
        batches = iter(loader_of(self.material.training, self.fabric, self.options)(start))
        last = self.step >= self.schedule.steps
        while not last:
            values = self._take_step(batches)
            last = self.step == self.schedule.steps or self._cancelled(cancel)
            warning = self._look(values, last)
            if self.fabric.is_global_zero:
                epoch = self.schedule.epoch(self.step - 1) + 1
                on_progress(
                    TrainingProgress(self.step, self.schedule.steps, epoch, self.losses, self.measures, warning)
                )
        health.end_logs(self.fabric, self.run)
        if self.fabric.is_global_zero:
            write_report(self.run, self._notes())

    def _take_step(self, batches: Iterator[Any]) -> dict[str, Tensor]:
        system, options = self.system, self.options
        batch = next(batches)  # first, because making the loader's iterator draws random numbers
        torch.manual_seed(_seed(options.seed, self.step, self.fabric.global_rank))
        system.shared.manual_seed(_seed(options.seed, self.step))
        factor = self.schedule.learning_rate_factor(self.step)
        for name, optimizer in system.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor
        system.epoch = self.schedule.epoch(self.step)
        sums: dict[str, Tensor] = {}
        try:
            for part in range(options.accumulate):
                system.first, system.last = part == 0, part == options.accumulate - 1
                for name, value in system.step(batch if system.first else next(batches)).items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value / options.accumulate
        except RuntimeError as exc:
            if not re.search("out of memory|can't allocate memory", str(exc), re.IGNORECASE):
                raise
            raise Failed(
                f"Memory is out at step {self.step + 1} with batches of {options.batch}. Make `batch` smaller (with "
                "`accumulate` the step stays as large), or `size`, or `ngf`; or take `precision=bf16`."
            ) from exc
        self.step += 1
        if self.average:
            self.average.update_parameters(system.generator)
        return sums

    def _cancelled(self, cancel: threading.Event) -> bool:
        """Whether any process was told to stop; all must stop at the same step."""
        if self.fabric.world_size == 1:
            return cancel.is_set()
        return self._mean(torch.tensor(float(cancel.is_set()), device=self.fabric.device)) > 0

    def _mean(self, value: Tensor) -> float:
        """Of all processes."""
        mean = self.fabric.all_reduce(value)
        assert isinstance(mean, Tensor)
        return float(mean)

    def _look(self, values: dict[str, Tensor], last: bool) -> str | None:
        """Log, show, measure and save, each in its time; a warning, if there is one."""
        warning = None
        options, step = self.options, self.step
        if step % LOG_EVERY == 0 or step == 1 or last:
            self.losses = {name: self._mean(value) for name, value in values.items()}
            health.check_finite(self.losses, step)
            rates = next(iter(self.system.optimizers.values())).param_groups[0]["lr"]
            health.log(self.fabric, self.run, {**self.losses, "learning_rate": rates}, step)
            warning = self.health_checks.of_losses(self.losses, step)
        if self.fabric.is_global_zero and (step % options.validate_every == 0 or last):
            warning = self._validate() or warning
        if self.fabric.is_global_zero and (step % options.save_every == 0 or last):
            self._save()
        if last or step % min(options.validate_every, options.save_every) == 0:
            self.fabric.barrier()
        return warning

    def _validate(self) -> str | None:
        system, generator = self.system, self.system.networks["G"]
        deployed = system.networks["G"] = plain(self.deployed)
        try:
            columns = health.show(system, self.preview)
            self.measures = health.measure(system, self.held_out, self.metrics)
        finally:
            system.networks["G"] = generator
        health.write_samples(self.run / SAMPLES / f"step-{self.step:07d}.png", columns)
        if self.measures and self.metrics.best:
            health.log(self.fabric, self.run, {f"val_{k}": v for k, v in self.measures.items()}, self.step)
            value = self.measures[self.metrics.best]
            if self.best is None or (value < self.best) == (self.metrics.best in BETTER_WHEN_LESS):
                self.best = value
                save_checkpoint(self.run / BEST, system.spec, deployed, self._notes())
        return self.health_checks.of_samples(columns, self.step)

    def _notes(self) -> dict[str, Any]:
        return {**self.training, "step": self.step, "losses": self.losses, "measures": self.measures, "best": self.best}

    def _save(self) -> None:
        state: dict[str, Any] = {"system": self.system.state(), "scaler": self.fabric.strategy.precision.state_dict()}
        if self.average:
            state["average"] = self.average.state_dict()
        save_checkpoint(self.run / CHECKPOINT, self.system.spec, plain(self.deployed), self._notes(), state)
        if not self.options.keep:
            return
        folder = self.run / EARLIER
        try:
            folder.mkdir(exist_ok=True)
            with replacing(folder / f"step-{self.step:07d}.pt") as temporary:
                link_or_copy(self.run / CHECKPOINT, temporary)
            for old in sorted(folder.glob("step-*.pt"))[: -self.options.keep]:
                old.unlink()
        except OSError as exc:
            raise OutputError(f"{exc.filename or folder} cannot be written: {exc.strerror}.") from exc

    def _load(self) -> None:
        """Take everything over from the checkpoint of the run."""
        path = self.run / CHECKPOINT
        contents = read_file(path)
        training = read_training(path, contents)
        if training.get("system") != self.training["system"]:
            raise DataError(
                f"{path} is of {training.get('system')}, and {self.training['system']} would go on with it."
            )
        before, now = training.get("options", {}), self.training["options"]
        changed = sorted(key for key in {*before, *now} - MAY_CHANGE if before.get(key) != now.get(key))
        if changed:
            raise DataError(
                "The training was begun with other options: "
                + ", ".join(f"{key} was {before.get(key)} and is {now.get(key)}" for key in changed)
                + ". Go on with those it was begun with."
            )
        try:
            state = contents["state"]
            self.system.load(state["system"])
            self.fabric.strategy.precision.load_state_dict(state["scaler"])
            if self.average:
                self.average.load_state_dict(state["average"])
            self.step, self.losses, self.best = training["step"], training["losses"], training["best"]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as exc:
            reason = " ".join(str(exc).split())[:300]
            raise CheckpointError(
                f"{path} cannot be gone on from ({reason}). Train anew with `overwrite=True`."
            ) from exc


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
