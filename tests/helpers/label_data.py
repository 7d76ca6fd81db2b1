"""Label maps drawn after real photographs, as data sets to train on; and whether two checkpoints are the same."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import p2p_deploy
from helpers.support import photo_crops, write_images
from p2p_deploy.exporter.export import export
from p2p_deploy.media.image import maps
from p2p_deploy.spec import ModelSpec
from trainers.labelled import Labelled, find_held_out
from trainers.vgg import Perceptual

CLASSES = 5


def write_map(path: Path, numbers: np.ndarray) -> Path:
    """Numbers (H, W) as a PNG file of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers.astype(np.uint16)).save(path)
    return path


def make_data(root: Path, count: int = 8, size: int = 48, split: str = "train", seed: int = 0) -> np.ndarray:
    """Photographs (count, size, size, 3) with their labels (256 x 256) and instances, in the layout of pix2pixHD.

    They are grey, since labels are steps of brightness, and tell nothing of colours.
    """
    photos = np.repeat(photo_crops(count, size, 1, seed), 3, axis=3)
    write_images(root / f"{split}_img", photos)
    for index, photo in enumerate(photos):
        both = maps.with_regions(maps.draw_labels(photo, CLASSES))
        for kind, number in (("label", 0), ("inst", 1)):
            write_map(root / f"{split}_{kind}" / f"{index:03d}.png", both[:, :, number])
    return photos


def shuffle_targets(root: Path) -> None:
    """Give every training map the picture of another."""
    files = sorted((root / "train_img").iterdir())
    pictures = [file.read_bytes() for file in files]
    for file, picture in zip(files, pictures[3:] + pictures[:3], strict=True):
        file.write_bytes(picture)


def held_out_l1(trainer, data: Path, run: Path, options) -> float:
    """Train; the L1 of held-out pictures at the end, of 255 levels."""
    seen: list[float] = []
    trainer.train(data, run, options, on_progress=lambda now: seen.append(now.measures.get("l1", np.nan)))
    return seen[-1]


def held_out_batch(data: Path, spec: ModelSpec) -> tuple[list[np.ndarray], np.ndarray]:
    """What a deployed network is given for the held-out items, and their pictures (N, H, W, 3) uint8."""
    items = Labelled(find_held_out(data, spec), spec, 0, augment=False)
    *given, pictures = (
        torch.stack(each).numpy() for each in zip(*(items[0, index] for index in range(len(items))), strict=True)
    )
    given = [array.astype(image.dtype) for array, image in zip(given, spec.inputs, strict=True)]
    return given, np.rint((pictures + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


def assert_learns(trainer, data: Path, tmp_path: Path, options, share: float) -> None:
    """On maps it never saw pictures come nearer, with those of other maps they do not; what is exported is as near."""
    make_data(data, 6, split="val", seed=9)
    untrained = held_out_l1(trainer, data, tmp_path / "short", replace(options, steps=1))
    learnt = held_out_l1(trainer, data, tmp_path / "run", options)
    shuffle_targets(data)
    shuffled = held_out_l1(trainer, data, tmp_path / "shuffled", options)
    assert learnt < share * untrained
    assert learnt < share * shuffled
    report = export(tmp_path / "run" / "ckpt.pt", tmp_path / "learnt.onnx")
    given, pictures = held_out_batch(data, trainer.make_spec(options))
    with p2p_deploy.load(report.onnx) as model:
        assert abs(np.abs(model(*given).astype(int) - pictures).mean() - learnt) < 0.5


def interrupted(trainer, data: Path, run: Path, options, after: int) -> Path:
    """Train, be stopped after so many steps, and go on."""
    cancel = threading.Event()

    def stop(now) -> None:
        if now.step == after - 1:  # it ends after the step under way, which is the next
            cancel.set()

    trainer.train(data, run, options, on_progress=stop, cancel=cancel)
    assert json.loads(read(run / "ckpt.pt")["training"])["step"] == after < options.steps
    return trainer.train(data, run, options, resume=True)


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def differences(one, other, where: str = "") -> list[str]:
    """Where two checkpoints are not the same to the last bit."""
    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{where}: {one.keys() ^ other.keys()}"]
        return [found for key in one for found in differences(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [where]
        return [
            found
            for index, (a, b) in enumerate(zip(one, other, strict=True))
            for found in differences(a, b, f"{where}.{index}")
        ]
    return [] if one == other else [where]


def tiny_vgg(path: Path, width: int = 2) -> Path:
    """Random weights in the layout of torchvision's VGG19, and some of its classifier."""
    torch.manual_seed(0)
    torch.save({**Perceptual(width).state_dict(), "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


def assert_same_gradients(one: dict, other: dict) -> None:
    """What Adam remembers of the first step is half of the gradients; the weights themselves move by their signs."""
    optimizers = other["state"]["system"]["optimizers"]
    assert optimizers.keys() == {"D", "G"}
    for network in optimizers:
        moments = [saved["state"]["system"]["optimizers"][network]["state"] for saved in (one, other)]
        assert moments[0].keys() == moments[1].keys()
        largest = max(float(state["exp_avg"].abs().max()) for state in moments[1].values())
        for key, state in moments[1].items():
            difference = float((moments[0][key]["exp_avg"] - state["exp_avg"]).abs().max())
            assert difference < 0.01 * largest, (network, key, difference / largest)
