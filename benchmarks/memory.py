"""Peak memory of a run over many images against one over few: an identity network, each run in its own process."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import peak_memory_mib, spread, write_photos, write_result

from p2p_deploy.bench.builtin import write_identity

FEW, MANY = 200, 2000
SIZE = 256


def child(model: Path, source: Path, out: Path) -> None:
    """Run, and print the peak."""
    from p2p_deploy.backends import load
    from p2p_deploy.pipeline import run

    with load(model) as backend:
        summary = run(backend, source, out)
    assert summary.complete
    print(json.dumps({"frames": summary.frames, "peak_mib": peak_memory_mib()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    peaks: dict[int, list[float]] = {FEW: [], MANY: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_identity(folder / "identity.onnx", size=SIZE)
        write_photos(folder / "photos", FEW, SIZE, ".jpg")
        for count in peaks:
            (folder / str(count)).mkdir()
            for index in range(count):
                os.link(folder / "photos" / f"{index % FEW:05d}.jpg", folder / str(count) / f"{index:05d}.jpg")
        for number in range(arguments.rounds):
            for count in peaks:
                places = (model, folder / str(count), folder / f"out-{number}-{count}")
                command = [sys.executable, __file__, "--child", *map(str, places)]
                answer = json.loads(subprocess.check_output(command))
                assert answer["frames"] == count
                peaks[count].append(answer["peak_mib"])
                print(f"round {number + 1}, {count} images: {answer['peak_mib']:.1f} MiB", flush=True)
    ratios = spread([many / few for few, many in zip(peaks[FEW], peaks[MANY], strict=True)])
    print(f"{MANY} over {FEW}: median {ratios['median']:.3f}, {ratios['min']:.3f} to {ratios['max']:.3f}")
    write_result(
        "memory", {"ratio": ratios, "peak_mib": {str(count): spread(values) for count, values in peaks.items()}}
    )


if __name__ == "__main__":
    main()
