"""Runs with a network that does nothing, against the codecs alone: what the pipeline itself costs.

Contestants, all with the same files, each read, decoded, encoded and written under another name:

    p2p      p2p_deploy.run with an identity network, a cast each way: warmed, timed from the listing to the last rename
    codecs   the cv2 calls that a run makes, in a bare pool of one thread a core: the limit
    imread   cv2.imread and cv2.imwrite in the same pool: without RGB, metadata, or looking for damage
    loop     what one writes by hand: imread, the session, imwrite, one image after the other

They alternate, each round in another order; a ratio is of two figures of the same round. Files are in memory,
/dev/shm:
ext4 takes up to a millisecond to create a file soon after others were removed, whoever creates it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from common import rotated, spread, timed, write_photos, write_result
from helpers.networks import write_identity

from p2p_deploy.backends import load
from p2p_deploy.machine import available_cores
from p2p_deploy.options import RunOptions
from p2p_deploy.runner.run import run

DISTINCT = 50
# Side, format of the input, format of the output (PNG unless --ext says otherwise), how many.
CASES = (
    (256, ".jpg", ".png", 1000),
    (256, ".png", ".png", 1000),
    (256, ".jpg", ".jpg", 3000),
    (1080, ".jpg", ".png", 60),
    (1080, ".png", ".png", 60),
    (1080, ".jpg", ".jpg", 600),
)
QUALITY = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".png": []}


def with_the_calls_of_a_run(file: Path, target: Path) -> None:
    image = cv2.imdecodeWithMetadata(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)[0]
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    target.write_bytes(cv2.imencode(target.suffix, image, QUALITY[target.suffix])[1])


def with_imread(file: Path, target: Path) -> None:
    cv2.imwrite(str(target), cv2.imread(str(file)), QUALITY[target.suffix])


def measure(size: int, suffix: str, output: str, count: int, rounds: int, folder: Path) -> dict:
    """Rates and ratios of all contestants with ``count`` pictures of size x size pixels."""
    source, out = folder / "in", folder / "out"
    write_photos(source, min(count, DISTINCT), size, suffix)
    for index in range(DISTINCT, count):
        os.link(source / f"{index % DISTINCT:05d}{suffix}", source / f"{index:05d}{suffix}")
    files = sorted(source.iterdir())
    model = write_identity(folder / "identity.onnx", size=size)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def pooled(one: Callable[[Path, Path], None]) -> None:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # which is faster where the pool has every core
        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(lambda file: one(file, out / f"{file.stem}{output}"), files))
        cv2.setNumThreads(threads)

    def loop() -> None:
        for file in files:
            frame = cv2.imread(str(file))
            answer = session.run(None, {"frames": frame[None]})[0][0]
            cv2.imwrite(str(out / f"{file.stem}{output}"), answer, QUALITY[output])

    busy: list[dict] = []
    with load(model) as backend:

        def p2p() -> None:
            summary = run(backend, source, out, RunOptions(ext=output[1:]))
            assert summary.done == count
            busy.append({"codecs": summary.codec_seconds, "network": summary.infer_seconds, "batch": summary.batch})

        contestants = {
            "p2p": p2p,
            "codecs": lambda: pooled(with_the_calls_of_a_run),
            "imread": lambda: pooled(with_imread),
            "loop": loop,
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        cpu: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(-1, rounds):  # the first one warms
            for name in rotated([*contestants], number):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                wall, used = timed(contestants[name])
                if number >= 0:
                    rates[name].append(count / wall)
                    cpu[name].append(used / count * 1000)
    ratios = {
        f"p2p/{other}": spread([a / b for a, b in zip(rates["p2p"], rates[other], strict=True)])
        for other in ("codecs", "imread", "loop")
    }
    shutil.rmtree(source)
    print(
        f"{size} {suffix} to {output}: "
        + ", ".join(
            f"{pair} {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})" for pair, ratio in ratios.items()
        )
    )
    for name in contestants:
        print(
            f"    {name:6} {np.median(rates[name]):8.1f} images/s, {np.median(cpu[name]):.3f} CPU ms/image", flush=True
        )
    return {
        "images": count,
        "ratios": ratios,
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "cpu_ms_per_image": {name: spread(values) for name, values in cpu.items()},
        "busy_seconds_of_the_last_run": busy[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", help="one case, such as 256.jpg.png")
    arguments = parser.parse_args()
    figures = {}
    for size, suffix, output, count in CASES:
        case = f"{size}{suffix}{output}"
        if arguments.only in (None, case):
            with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
                figures[case] = measure(size, suffix, output, count, arguments.rounds, Path(name))
    if arguments.only is None:
        write_result("codec_limit", {"rounds": arguments.rounds, "cases": figures})


if __name__ == "__main__":
    main()
