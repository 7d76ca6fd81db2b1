"""What the scripts share: photographs to work on, paired ratios, JSON with what a figure must be read with."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from p2p_deploy import pixels
from p2p_deploy.benchmark import describe_machine
from p2p_deploy.demo.crops import cut
from p2p_deploy.demo.photos import photos
from p2p_deploy.media.image.files import encode_image, read_image

RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # whose helpers make networks and files


def photo_frames(count: int, size: int) -> np.ndarray:
    """Distinct crops of photographs: (count, size, size, 3) uint8; enlarged where the photographs are smaller."""
    random = np.random.default_rng(0)
    sources = [pixels.to_channels(read_image(path)[0], 3) for path in photos().values()]

    def frame(photo: np.ndarray) -> np.ndarray:
        return pixels.resize(cut(photo, random, min(size, *photo.shape[:2])), size, size)

    return np.stack([frame(sources[index % len(sources)]) for index in range(count)])


def write_photos(folder: Path, count: int, size: int, suffix: str) -> np.ndarray:
    """Write ``count`` photographs as 00000.jpg …, and return what they decode to."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(photo_frames(count, size)):
        (folder / f"{index:05d}{suffix}").write_bytes(encode_image(frame, suffix))
    return np.stack([read_image(path)[0] for path in sorted(folder.iterdir())])


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """(wall seconds, CPU seconds of all threads of this process)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def rotated(names: list[str], number: int) -> list[str]:
    """The order of the contestants in a round."""
    shift = number % len(names)
    return names[shift:] + names[:shift]


def spread(values: list[float]) -> dict[str, float | list[float]]:
    """Median, extremes and all values."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def peak_memory_mib() -> float:
    """Peak resident memory of this process, MiB.

    From /proc, where it starts anew with the program; ru_maxrss carries over what the parent had when it forked.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def write_result(name: str, figures: dict) -> Path:
    """Write ``results/NAME.json`` with the command and the machine beside the figures."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *words])
    path = RESULTS / f"{name}.json"
    RESULTS.mkdir(exist_ok=True)
    document = {"command": command, "machine": describe_machine(), **figures}
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written: {path.relative_to(Path(__file__).parent.parent)}")
    return path
