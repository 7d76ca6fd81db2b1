"""JPEG photographs on disk to PNG on disk through a U-Net, against the bare session on arrays in memory.

Contestants, all with the same 200 photographs of 256 x 256 pixels and the same weights:

    p2p      p2p_deploy.run: session made and warmed, timed from the first read to the last rename
    bare     the same ONNX file in ONNX Runtime on preloaded arrays, at its best thread count and batch size
    loop     what one writes by hand: read, run, write, one image after the other, at the best thread count
    torch    the same with PyTorch in eager mode, as the research repositories' test.py does

They alternate, each round in another order; a ratio is of two figures of the same round.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from common import spread, timed, write_photos, write_result

from p2p_deploy.backends import load
from p2p_deploy.bench.builtin import export_builtin, reference_spec
from p2p_deploy.frame_model import FrameModel
from p2p_deploy.generators import build_generator
from p2p_deploy.pipeline import run

SIZE = 256
BATCHES = (1, 2, 4, 8)


def session_with(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def bare(session: onnxruntime.InferenceSession, frames: np.ndarray, batch: int) -> None:
    for start in range(0, len(frames), batch):
        session.run(None, {"frames": frames[start : start + batch]})


def calibrate(model: Path, frames: np.ndarray, cores: int) -> tuple[int, int, dict[str, float]]:
    """The thread count and batch size at which the bare session is fastest, each tried three times."""
    found: dict[tuple[int, int], float] = {}
    for threads in range(1, cores + 1):
        session = session_with(model, threads)
        for batch in BATCHES:
            bare(session, frames[:batch], batch)
            best = min(timed(lambda: bare(session, frames[:16], batch))[0] for _ in range(3))  # noqa: B023
            found[threads, batch] = 16 / best
            print(f"bare, {threads} threads, batch {batch}: {16 / best:.2f} images/s")
    threads, batch = max(found, key=found.__getitem__)
    return threads, batch, {f"{threads} threads, batch {batch}": rate for (threads, batch), rate in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--cores", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_path = export_builtin(folder)
        frames = write_photos(folder / "in", arguments.images, SIZE, ".jpg")
        files = sorted((folder / "in").iterdir())
        threads, batch, calibration = calibrate(model_path, frames, arguments.cores)

        session = session_with(model_path, threads)
        torch.manual_seed(0)
        spec = reference_spec()
        eager = FrameModel(build_generator(spec.arch, spec.arch_kwargs).eval(), spec)
        out = folder / "out"

        def p2p() -> None:
            summary = run(model, folder / "in", out)
            assert summary.complete

        def loop() -> None:
            for file in files:
                frame = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
                output = session.run(None, {"frames": frame[None]})[0][0]
                cv2.imwrite(str(out / f"{file.stem}.png"), cv2.cvtColor(output, cv2.COLOR_RGB2BGR))

        @torch.inference_mode()
        def torch_eager() -> None:
            for file in files:
                frame = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
                output = eager(torch.from_numpy(frame)[None])[0].numpy()
                cv2.imwrite(str(out / f"{file.stem}.png"), cv2.cvtColor(output, cv2.COLOR_RGB2BGR))

        contestants = {
            "p2p": p2p,
            "bare": lambda: bare(session, frames, batch),
            "loop": loop,
            "torch": torch_eager,
        }
        rates = {contestant: [] for contestant in contestants}
        cpu = {contestant: [] for contestant in contestants}
        with load(model_path, threads=threads) as model:
            model(frames[:4])
            bare(session, frames[:8], batch)
            torch_warm = torch.from_numpy(frames[:1])
            with torch.inference_mode():
                eager(torch_warm)
            names = list(contestants)
            for number in range(arguments.rounds):
                for contestant in names[number % len(names) :] + names[: number % len(names)]:
                    shutil.rmtree(out, ignore_errors=True)
                    if contestant != "p2p":
                        out.mkdir()
                    wall, used = timed(contestants[contestant])
                    rates[contestant].append(len(files) / wall)
                    cpu[contestant].append(used / len(files))
                    print(
                        f"round {number + 1} {contestant:6} {len(files) / wall:7.2f} images/s "
                        f"{used / len(files):.4f} CPU s/image",
                        flush=True,
                    )

    ratios = {
        f"{first}/{second}": spread([a / b for a, b in zip(rates[first], rates[second], strict=True)])
        for first, second in (("p2p", "bare"), ("loop", "bare"), ("p2p", "loop"), ("p2p", "torch"))
    }
    for pair, values in ratios.items():
        print(f"{pair}: median {values['median']:.3f}, {values['min']:.3f} to {values['max']:.3f}")
    write_result(
        "disk_to_disk",
        {
            "images": arguments.images,
            "rounds": arguments.rounds,
            "bare": {"threads": threads, "batch": batch, "calibration_images_per_second": calibration},
            "ratios": ratios,
            "images_per_second": {contestant: spread(values) for contestant, values in rates.items()},
            "cpu_seconds_per_image": {contestant: spread(values) for contestant, values in cpu.items()},
        },
    )


if __name__ == "__main__":
    main()
