"""Peak memory of runs over much against runs over little: an identity network, each run in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from common import peak_memory_mib, photo_frames, spread, write_photos, write_result
from helpers.networks import write_identity

from p2p_deploy.options import RunOptions

IMAGES = (200, 20_000)
FRAMES = (100, 10_000)
SIZE = 128
DISTINCT = 100
BATCH = 8  # left to itself, a short run is over before it has tried the larger ones, which take more memory


def child(model: Path, source: Path, out: Path) -> None:
    """Run, and print the peak."""
    from p2p_deploy.backends import load
    from p2p_deploy.runner.run import run

    with load(model) as backend:
        summary = run(backend, source, out, RunOptions(batch=BATCH))
    assert summary.complete
    print(json.dumps({"frames": summary.frames, "peak_mib": peak_memory_mib()}))


def write_clip(path: Path, frames: np.ndarray, count: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        stream.height = stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(frames[index % len(frames)], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    peaks: dict[str, list[float]] = {}
    ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_identity(folder / "identity.onnx", size=SIZE)
        write_photos(folder / "photos", DISTINCT, SIZE, ".jpg")
        for count in IMAGES:
            (folder / f"{count} images").mkdir()
            for index in range(count):
                os.link(
                    folder / "photos" / f"{index % DISTINCT:05d}.jpg", folder / f"{count} images" / f"{index:05d}.jpg"
                )
        frames = photo_frames(DISTINCT, SIZE)
        for count in FRAMES:
            write_clip(folder / f"{count} frames.mp4", frames, count)
        sources = {f"{count} images": folder / f"{count} images" for count in IMAGES}
        sources |= {f"{count} frames": folder / f"{count} frames.mp4" for count in FRAMES}
        for number in range(arguments.rounds):
            for what, source in sources.items():
                places = (model, source, folder / f"out {number} {what}")
                command = [sys.executable, __file__, "--child", *map(str, places)]
                answer = json.loads(subprocess.check_output(command))
                assert answer["frames"] == int(what.split()[0])
                peaks.setdefault(what, []).append(answer["peak_mib"])
                print(f"round {number + 1}, {what}: {answer['peak_mib']:.1f} MiB", flush=True)
    for kind, (few, many) in {"images": IMAGES, "frames": FRAMES}.items():
        both = zip(peaks[f"{few} {kind}"], peaks[f"{many} {kind}"], strict=True)
        ratios[f"{many}/{few} {kind}"] = spread([more / less for less, more in both])
    for pair, ratio in ratios.items():
        print(f"{pair}: median {ratio['median']:.3f}, {ratio['min']:.3f} to {ratio['max']:.3f}")
    write_result("memory", {"ratios": ratios, "peak_mib": {what: spread(values) for what, values in peaks.items()}})


if __name__ == "__main__":
    main()
