"""Timing and statistics, shared by ``p2p bench`` and the scripts in ``benchmarks/``."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.backends.base import Model
from p2p_deploy.machine import available_cores
from p2p_deploy.options import BenchOptions
from p2p_deploy.reports import Report

PACKAGES = ("p2p-deploy", "numpy", "opencv-python-headless", "av", "onnxruntime", "onnxruntime-gpu", "torch")


@dataclass(frozen=True)
class Latency(Report):
    """Statistics of samples, milliseconds; a percentile is None where the samples do not carry it."""

    samples: int
    mean: float
    p50: float
    p90: float | None
    p99: float | None

    @classmethod
    def of(cls, seconds: list[float]) -> Latency:
        """From samples in seconds, at least one. p90 needs 10 of them and p99 needs 100."""
        ms = np.asarray(seconds) * 1e3
        p50, p90, p99 = (float(value) for value in np.percentile(ms, (50, 90, 99)))
        return cls(len(ms), float(ms.mean()), p50, p90 if len(ms) >= 10 else None, p99 if len(ms) >= 100 else None)


def sample_seconds(step: Callable[[], Any], *, warmup_ms: float, duration_s: float) -> list[float]:
    """Run ``step`` untimed for ``warmup_ms`` (at least once), then timed for ``duration_s`` (at least once).

    Returns:
        Seconds of each timed step.
    """
    end = time.perf_counter() + warmup_ms / 1e3
    step()
    while time.perf_counter() < end:
        step()
    samples: list[float] = []
    end = time.perf_counter() + duration_s
    while not samples or time.perf_counter() < end:
        started = time.perf_counter()
        step()
        samples.append(time.perf_counter() - started)
    return samples


@dataclass(frozen=True)
class BenchResult(Report):
    """What one model does in batches of one size.

    Attributes:
        model: name of its file.
        backend: the runtime.
        device: where it was computed.
        size: (height, width) of the images, pixels.
        batch: images at once.
        latency_ms: of a batch, submit to wait.
        images_per_second: throughput.
        versions: what would have to be known to repeat it.
    """

    model: str
    backend: str
    device: str
    size: tuple[int, int]
    batch: int
    latency_ms: Latency
    images_per_second: float
    versions: Mapping[str, str]


@dataclass(frozen=True)
class BenchReport(Report):
    """What was measured.

    Attributes:
        machine: what the figures have to be read with.
        results: one for each batch size.
    """

    machine: Mapping[str, str]
    results: tuple[BenchResult, ...]


def bench(
    model: Model,
    options: BenchOptions = BenchOptions(),
    *,
    on_result: Callable[[BenchResult], None] = lambda result: None,
) -> BenchReport:
    """Latency and throughput of inference alone: frames in memory to frames in memory.

        >>> import p2p_deploy
        >>> with p2p_deploy.load("facades.onnx") as model:
        ...     report = p2p_deploy.bench(model, p2p_deploy.BenchOptions(batch=(1, 2), duration_s=0.1))
        >>> [result.batch for result in report.results]
        [1, 2]

    Args:
        model: what ``p2p_deploy.load`` gave.
        options: for how long, and in which batches.
        on_result: called with each result when it is there.

    Raises:
        Failed: the device failed, or has no memory for a batch.
    """
    results = []
    for batch in options.batch:
        results.append(bench_batch(model, batch, warmup_ms=options.warmup_ms, duration_s=options.duration_s))
        on_result(results[-1])
    return BenchReport(describe_machine(), tuple(results))


def bench_batch(model: Model, batch: int, *, warmup_ms: float, duration_s: float) -> BenchResult:
    """Latency and throughput on frames of noise in one slot, submit to wait."""
    slot = model.slots(1, batch)[0]
    noise = np.random.default_rng(0)
    for image, rows in zip(model.spec.inputs, slot.inputs, strict=True):
        if image.dtype == "float32":
            rows[...] = noise.uniform(*image.value_range, rows.shape)
        else:
            rows[...] = noise.integers(0, image.classes or 256, rows.shape)
    slot.count = batch

    def step() -> None:
        model.submit(slot)
        model.wait(slot)

    seconds = sample_seconds(step, warmup_ms=warmup_ms, duration_s=duration_s)
    return BenchResult(
        model=model.path.name if model.path else model.spec.name,
        backend=model.name,
        device=model.device,
        size=model.size,
        batch=batch,
        latency_ms=Latency.of(seconds),
        images_per_second=batch * len(seconds) / sum(seconds),
        versions=model.versions(),
    )


def describe_machine() -> dict[str, str]:
    """What a figure has to be read with: processor, cores, system, package versions, date."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": str(available_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
