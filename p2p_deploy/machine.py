"""The machine a process runs on: the cores and the memory that it may use."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path


def available_cores() -> int:
    """CPU cores this process may use, which in a container can be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory this process may still take, by what the system and its container say."""
    found = []
    for file, pattern in (
        ("/proc/meminfo", r"MemAvailable:\s+(\d+) kB"),
        ("/sys/fs/cgroup/memory.max", r"(\d+)"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", r"(\d+)"),
    ):
        with contextlib.suppress(OSError):
            match = re.match(rf"(?s).*?{pattern}", Path(file).read_text())
            if match:
                found.append(int(match[1]) * (1024 if "meminfo" in file else 1))
    return min(found, default=8 * 2**30)
