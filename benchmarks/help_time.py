"""How long ``p2p --help`` takes, from the shell's point of view: the median of quiet runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import spread, write_result

RUNS = 21


def main() -> None:
    p2p = Path(sys.executable).with_name("p2p")
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run([p2p, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    seconds = seconds[1:]  # the first reads the files from the disk
    found = spread(seconds)
    print(f"p2p --help: median {found['median']:.3f} s of {RUNS} runs, {found['min']:.3f} to {found['max']:.3f}")
    write_result("help_time", {"seconds": found})


if __name__ == "__main__":
    main()
