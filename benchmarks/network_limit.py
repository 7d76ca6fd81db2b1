"""Runs with real networks on the CPU, against the bare session: does everything but the network vanish beside it?

Contestants, all with the same photographs of 256 x 256 pixels and the same weights:

    folder   p2p_deploy.run over JPEG files to PNG files: session warmed, timed from the listing to the last rename
    clip     p2p_deploy.run over as many frames of Big Buck Bunny, cut square, H.264 to H.264
    bare     the same ONNX file in ONNX Runtime on preloaded arrays, at its best thread count and batch size
    loop     what one writes by hand: imread, the session, imwrite, one image after the other
    torch    the same with PyTorch in eager mode, as the research repositories' test.py does

Each run of the first two stands between two of the bare session, in turns, and its ratio is to their mean: what the
machine gives changes by a tenth within a minute. The last two join in the first three rounds, beside the runs they are
compared with. After them one run over a clip of 1280 x 720 pixels with each network, for the share of each stage.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
import torch
from common import rotated, spread, timed, write_photos, write_result
from helpers.networks import vary_output

from p2p_deploy.backends import load
from p2p_deploy.benchmark.builtin import reference_spec
from p2p_deploy.demo.photos import clip, photos
from p2p_deploy.exporter.onnx import write_onnx
from p2p_deploy.generators import build_generator
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.machine import available_cores
from p2p_deploy.media.image.files import read_image
from p2p_deploy.pixels import resize, to_channels
from p2p_deploy.runner.run import run
from p2p_deploy.spec import ImageSpec, ModelSpec

SIZE = 256
WIDE = (720, 1280)
BATCHES = (1, 2, 4, 8)
COUNTS = {"unet_256": 180, "resnet_9": 16}
WIDE_COUNT = 8
PAIRS = ("folder/bare", "clip/bare", "folder/loop", "folder/torch")
BY_HAND = 3  # rounds


def resnet_spec() -> ModelSpec:
    """The generator of CycleGAN for 256 x 256 pixels."""
    image = ImageSpec.for_channels(3)
    return ModelSpec(
        "resnet_9", "resnet", {"n_blocks": 9, "ngf": 64, "norm": "instance"}, (image,), image, 4, 16, (SIZE, SIZE)
    )


def export(spec: ModelSpec, folder: Path) -> tuple[Path, FrameModel]:
    torch.manual_seed(0)
    generator = vary_output(build_generator(spec.arch, spec.arch_kwargs), torch.rand(2, 3, SIZE, SIZE) * 2 - 1)
    path = folder / f"{spec.name}.onnx"
    write_onnx(generator, spec, path)
    return path, FrameModel(generator, spec).eval()


def clip_frames(count: int) -> np.ndarray:
    """The frames of the clip, from the start again when it ends, their middle square: (count, SIZE, SIZE, 3) uint8."""
    with av.open(str(clip())) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), count)]
    height, width = decoded[0].shape[:2]
    left = (width - height) // 2
    squares = [resize(frame[:, left : left + height], SIZE, SIZE) for frame in decoded]
    return np.stack([squares[index % len(squares)] for index in range(count)])


def write_clip(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "12", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def bare(session: onnxruntime.InferenceSession, frames: np.ndarray, batch: int) -> None:
    for start in range(0, len(frames), batch):
        session.run(None, {"frames": frames[start : start + batch]})


def best_session(model: Path, frames: np.ndarray) -> tuple[onnxruntime.InferenceSession, int, dict[str, float]]:
    """The session and batch size that are fastest, each tried three times; seconds for each way."""
    tried: dict[str, float] = {}
    best: tuple[float, onnxruntime.InferenceSession, int] | None = None
    for threads in range(1, available_cores() + 1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for batch in BATCHES:
            bare(session, frames[:batch], batch)
            seconds = min(timed(lambda: bare(session, frames[:8], batch))[0] for _ in range(3)) / 8  # noqa: B023
            tried[f"{threads} threads, batch {batch}"] = seconds
            if best is None or seconds < best[0]:
                best = seconds, session, batch
    assert best is not None
    return best[1], best[2], tried


def measure(spec: ModelSpec, rounds: int, folder: Path) -> dict:
    count = COUNTS[spec.name]
    model_path, eager = export(spec, folder)
    frames = write_photos(folder / "in", count, SIZE, ".jpg")
    write_clip(folder / "clip.mp4", clip_frames(count))
    session, batch, calibration = best_session(model_path, frames)
    files = sorted((folder / "in").iterdir())
    out = folder / "out"

    @torch.inference_mode()
    def one_by_one(network: Callable[[np.ndarray], np.ndarray]) -> None:
        out.mkdir()
        for file in files:
            frame = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
            cv2.imwrite(str(out / f"{file.stem}.png"), cv2.cvtColor(network(frame[None])[0], cv2.COLOR_RGB2BGR))

    said: dict[str, dict] = {}
    with load(model_path) as model:

        def p2p(name: str, source: Path) -> None:
            summary = run(model, source, out)
            assert summary.complete
            assert summary.frames == count
            said[name] = {key: value for key, value in summary.to_dict().items() if key != "record"}

        contestants = {
            "folder": lambda: p2p("folder", folder / "in"),
            "clip": lambda: p2p("clip", folder / "clip.mp4"),
            "bare": lambda: bare(session, frames, batch),
            "loop": lambda: one_by_one(lambda frames: session.run(None, {"frames": frames})[0]),
            "torch": lambda: one_by_one(lambda frames: eager(torch.from_numpy(frames)).numpy()),
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        ratios: dict[str, list[float]] = {pair: [] for pair in PAIRS}
        cpu: dict[str, list[float]] = {name: [] for name in contestants}
        run(model, folder / "in", out)  # warms, and reads the model's file for its fingerprint
        shutil.rmtree(out)
        bare(session, frames[:batch], batch)
        with torch.inference_mode():
            eager(torch.from_numpy(frames[:1]))
        for number in range(rounds):
            ours = rotated(["folder", "clip"], number)
            by_hand = ["loop", "torch"] if number < BY_HAND else []
            for name in ("bare", ours[0], "bare", ours[1], "bare", *by_hand):
                shutil.rmtree(out, ignore_errors=True)
                wall, used = timed(contestants[name])
                rates[name].append(count / wall)
                cpu[name].append(used / count)
                print(f"{spec.name} round {number + 1} {name:6} {count / wall:7.2f} images/s", flush=True)
            before, between, after = rates["bare"][-3:]
            ratios[f"{ours[0]}/bare"].append(rates[ours[0]][-1] / ((before + between) / 2))
            ratios[f"{ours[1]}/bare"].append(rates[ours[1]][-1] / ((between + after) / 2))
            for name in by_hand:
                ratios[f"folder/{name}"].append(rates["folder"][-1] / rates[name][-1])
    for pair, values in ratios.items():
        print(f"{spec.name} {pair}: {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    return {
        "images": count,
        "bare": {"batch": batch, "seconds_per_image": calibration},
        "ratios": {pair: spread(values) for pair, values in ratios.items()},
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "cpu_seconds_per_image": {name: spread(values) for name, values in cpu.items()},
        "summaries_of_the_last_round": said,
    }


def shares(spec: ModelSpec, folder: Path) -> dict:
    """How long each stage was busy in a run over a clip of 720 lines."""
    pictures = [resize(to_channels(read_image(path)[0], 3), *WIDE) for path in photos().values()]
    write_clip(folder / "wide.mp4", np.stack([pictures[index % len(pictures)] for index in range(WIDE_COUNT)]))
    with load(folder / f"{spec.name}.onnx") as model:
        summary = run(model, folder / "wide.mp4", folder / "wide")
    assert summary.frames == WIDE_COUNT
    codecs = summary.codec_seconds
    busy = {
        "decoding": codecs["video in"]["decode"],
        "network": max(summary.infer_seconds),
        "encoding": codecs["video out"]["encode"],
    }
    share = {stage: round(seconds / summary.seconds, 4) for stage, seconds in busy.items()}
    print(f"{spec.name} 720p: {summary.frames_per_second:.3f} frames/s, busy {share}")
    return {"frames": WIDE_COUNT, "seconds": summary.seconds, "busy_share": share, "notes": dict(summary.notes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=[*COUNTS])
    arguments = parser.parse_args()
    figures = {}
    for spec in (reference_spec(), resnet_spec()):
        if arguments.only in (None, spec.name):
            with tempfile.TemporaryDirectory() as name:
                figures[spec.name] = measure(spec, arguments.rounds, Path(name))
                figures[spec.name]["1280x720"] = shares(spec, Path(name))
    for name, figure in figures.items():
        write_result(f"network_limit_{name}", {"rounds": arguments.rounds, **figure})


if __name__ == "__main__":
    main()
