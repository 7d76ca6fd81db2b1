"""Timing and statistics, shared by ``p2p bench`` and the scripts in ``benchmarks/``."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.backends.base import Model
from p2p_deploy.machine import available_cores

PACKAGES = ("p2p-deploy", "numpy", "opencv-python-headless", "av", "onnxruntime", "onnxruntime-gpu", "torch")


@dataclass(frozen=True)
class Latency:
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


def sample(step: Callable[[], Any], *, warmup_ms: float, duration_s: float) -> list[float]:
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


def bench_model(backend: Model, batch: int, *, warmup_ms: float, duration_s: float) -> dict[str, Any]:
    """Latency and throughput of a loaded model on frames of noise in one slot, submit to wait."""
    slot = backend.slots(1, batch)[0]
    noise = np.random.default_rng(0)
    for image, rows in zip(backend.spec.inputs, slot.inputs, strict=True):
        if image.dtype == "float32":
            rows[...] = noise.uniform(*image.value_range, rows.shape)
        else:
            rows[...] = noise.integers(0, image.classes or 256, rows.shape)
    slot.count = batch

    def step() -> None:
        backend.submit(slot)
        backend.wait(slot)

    seconds = sample(step, warmup_ms=warmup_ms, duration_s=duration_s)
    return {
        "backend": backend.name,
        "device": backend.device,
        "size": list(backend.size),
        "batch": batch,
        "latency_ms": asdict(Latency.of(seconds)),
        "images_per_second": batch * len(seconds) / sum(seconds),
        "versions": backend.versions(),
    }


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
