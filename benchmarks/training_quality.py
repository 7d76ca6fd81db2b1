"""What pix2pix and CycleGAN learn in a quarter of an hour on the CPU, at 128 pixels, on photographs.

Crops for training come from the left two thirds of six photographs, held-out ones from what is left.

    pix2pix     photographs under heavy noise (a deviation of 40 levels) to what they were without it
    cyclegan    photographs to others as if by night (a curve and a blue cast), never seen in pairs; for the held-out
                crops the right answer is known, and neither network is told

The curve is of held-out L1 (of 255 levels) and SSIM over training time, beside what the inputs themselves would get.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from common import RESULTS, write_result
from torchmetrics.functional.image import structural_similarity_index_measure

import p2p_deploy
from p2p_deploy.demo.crops import cut
from p2p_deploy.demo.photos import photos
from p2p_deploy.media.image.files import encode_image, read_image
from p2p_deploy.pixels import Pixels
from trainers import CycleGANOptions, Pix2PixOptions, TrainingOptions, TrainingProgress, train

SIZE, CROP = 128, 143  # 143 is what pictures are resized to before they are cropped
TRAIN, HELD_OUT = 600, 24
NOISE = 40  # levels
POINTS = 15  # on the curve
CALIBRATION = 12  # steps, to know how many fit the time
Step = tuple[int, float, dict[str, float]]


def noisy(photos: list[Pixels], seed: int) -> list[Pixels]:
    """Each with noise of its own."""
    random = np.random.default_rng(seed)
    return [np.clip(np.rint(photo + random.normal(0, NOISE, photo.shape)), 0, 255).astype(np.uint8) for photo in photos]


def by_night(photo: Pixels) -> Pixels:
    """Dark and blue."""
    return np.rint(255 * (photo / 255.0) ** 1.5 * (0.45, 0.6, 0.9)).astype(np.uint8)


def crops(count: int, size: int, seed: int, *, held_out: bool) -> list[Pixels]:
    sources = []
    for path in photos().values():
        photo = read_image(path)[0]
        border = photo.shape[1] * 2 // 3
        sources.append(photo[:, border:] if held_out else photo[:, :border])
    random = np.random.default_rng(seed)
    return [cut(sources[index % len(sources)], random, size) for index in range(count)]


def write(folder: Path, pictures: list[Pixels]) -> None:
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        (folder / f"{index:04d}.png").write_bytes(encode_image(picture, ".png"))


def compare(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    a, b = (torch.from_numpy(each).permute(0, 3, 1, 2).float() for each in (outputs, targets))
    ssim = structural_similarity_index_measure(a, b, data_range=255.0)
    assert isinstance(ssim, torch.Tensor)
    return {"l1": float((a - b).abs().mean()), "ssim": float(ssim)}


def of_checkpoint(path: Path, inputs: np.ndarray) -> np.ndarray:
    with p2p_deploy.load(path) as model:
        return model(inputs)


def timed_training(
    system: str, data: Path, run: Path, options: Callable[..., TrainingOptions], minutes: float
) -> tuple[Path, list[Step]]:
    """Train for so long; the checkpoint, and (step, seconds, what was measured) of each step."""
    times: list[Step] = []

    def note(now: TrainingProgress) -> None:
        times.append((now.step, time.perf_counter() - started, now.measures))

    started = time.perf_counter()
    train(system, data, run, options(steps=CALIBRATION, every=10**6), on_progress=note)
    each = (times[-2][1] - times[1][1]) / (times[-2][0] - times[1][0])  # the last one saves and measures
    shutil.rmtree(run)
    steps = int(minutes * 60 / each)
    print(f"{each:.3f} s a step: {steps} steps", flush=True)
    times.clear()
    started = time.perf_counter()
    report = train(system, data, run, options(steps=steps, every=max(1, steps // POINTS)), on_progress=note)
    return report.checkpoint, times


def measured(run: Path, times: list[Step], inputs: np.ndarray, targets: np.ndarray) -> list[dict]:
    """The curve: what the trainer measured on the held-out crops, or else every checkpoint on them."""
    seconds = {step: at for step, at, _ in times}
    curve = []
    for (step, at, measures), (*_, before) in zip(times[1:], times, strict=False):
        if measures and measures is not before:
            curve.append({"step": step, "seconds": at, "l1": measures["l1"], "ssim": measures["ssim"]})
    for path in sorted((run / "checkpoints").glob("step-*.pt")):
        step = int(path.stem.removeprefix("step-"))
        curve.append({"step": step, "seconds": seconds[step], **compare(of_checkpoint(path, inputs), targets)})
    return curve


def pix2pix_at(folder: Path, minutes: float) -> dict:
    def options(steps: int, every: int) -> Pix2PixOptions:
        return Pix2PixOptions(size=SIZE, steps=steps, save_every=10**6, validate_every=every, device="cpu", ema=0.995)

    data, targets = folder / "pairs", crops(HELD_OUT, SIZE, 1, held_out=True)
    learnt = crops(TRAIN, CROP, 0, held_out=False)
    inputs = noisy(targets, 1)
    write(data / "A" / "train", noisy(learnt, 0))
    write(data / "B" / "train", learnt)
    write(data / "A" / "val", inputs)
    write(data / "B" / "val", targets)
    return result("pix2pix", data, folder, options, minutes, inputs, targets)


def cyclegan_at(folder: Path, minutes: float) -> dict:
    def options(steps: int, every: int) -> CycleGANOptions:
        return CycleGANOptions(
            size=SIZE, ngf=32, steps=steps, save_every=every, keep=99, validate_every=10**6, device="cpu"
        )

    data, inputs = folder / "domains", crops(HELD_OUT, SIZE, 1, held_out=True)
    write(data / "trainA", crops(TRAIN, CROP, 0, held_out=False))
    write(data / "trainB", [by_night(photo) for photo in crops(TRAIN, CROP, 2, held_out=False)])
    targets = [by_night(photo) for photo in inputs]
    return result("cyclegan", data, folder, options, minutes, inputs, targets)


def result(
    name: str,
    data: Path,
    folder: Path,
    options: Callable[..., TrainingOptions],
    minutes: float,
    inputs: list[Pixels],
    targets: list[Pixels],
) -> dict:
    checkpoint, times = timed_training(name, data, folder / name, options, minutes)
    given, wanted = np.stack(inputs), np.stack(targets)
    curve, of_inputs = measured(folder / name, times, given, wanted), compare(given, wanted)
    outputs = of_checkpoint(checkpoint, given)
    rows = [np.hstack([given[i], outputs[i], wanted[i]]) for i in range(6)]
    picture = np.hstack([np.vstack(rows[:3]), np.vstack(rows[3:])])
    (RESULTS / f"training_quality_{name}.png").write_bytes(encode_image(picture, ".png"))
    plot(name, curve, of_inputs)
    last = curve[-1]
    print(
        f"{name}: after {last['step']} steps, {last['seconds']:.0f} s, held-out L1 {last['l1']:.2f}, SSIM "
        f"{last['ssim']:.3f}; the inputs themselves: {of_inputs['l1']:.2f}, {of_inputs['ssim']:.3f}",
        flush=True,
    )
    return {"minutes": minutes, "inputs_themselves": of_inputs, "curve": curve}


def plot(name: str, curve: list[dict], of_inputs: dict[str, float]) -> None:
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, key, label in zip(axes, ("l1", "ssim"), ("L1, levels of 255", "SSIM"), strict=True):
        axis.plot([point["seconds"] / 60 for point in curve], [point[key] for point in curve], marker=".")
        axis.axhline(of_inputs[key], linestyle=":", color="grey", label="the input itself")
        axis.set(xlabel="minutes", title=label)
        axis.legend()
    figure.suptitle(f"{name}, held-out crops")
    figure.savefig(RESULTS / f"training_quality_{name}_curve.png", dpi=100)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--only", choices=("pix2pix", "cyclegan"))
    arguments = parser.parse_args()
    for name, at in (("pix2pix", pix2pix_at), ("cyclegan", cyclegan_at)):
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                write_result(f"training_quality_{name}", at(Path(folder), arguments.minutes))


if __name__ == "__main__":
    main()
