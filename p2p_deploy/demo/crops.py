"""Training pairs cut out of the photographs, and fresh crops to measure on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from p2p_deploy import pixels
from p2p_deploy.backends.base import Model
from p2p_deploy.media.image.files import encode_image, read_image
from p2p_deploy.pixels import Pixels

SIZE = 128
CROP_SIZE = 144  # what is written; the trainer cuts SIZE out of it
TRAIN_CROPS = 600
TEST_CROPS = 16  # of each photograph
TRAIN_SEED, TEST_SEED = 0, 1  # of where crops are cut: those that are measured on were never trained on


def cut(photo_HWC: Pixels, random: np.random.Generator, size: int) -> Pixels:
    """A random square crop, between ``size`` and the whole short side, resized to size x size."""
    height, width = photo_HWC.shape[:2]
    side = int(random.integers(size, min(height, width) + 1))
    top, left = int(random.integers(0, height - side + 1)), int(random.integers(0, width - side + 1))
    return pixels.resize(photo_HWC[top : top + side, left : left + side], size, size)


def write_pairs(photos: Iterable[Path], data: Path, *, seed: int) -> None:
    """Write ``TRAIN_CROPS`` pairs, photographs in turn: grey in ``data/A/train``, colour in ``data/B/train``."""
    colours = [read_image(path)[0] for path in photos]
    random = np.random.default_rng(seed)
    for index in range(TRAIN_CROPS):
        crop = cut(colours[index % len(colours)], random, CROP_SIZE)
        for side, channels in (("A", 1), ("B", 3)):
            _write(data / side / "train" / f"{index:04d}.png", pixels.to_channels(crop, channels))


def write_inputs(photos: Mapping[str, Path], folder: Path) -> None:
    """Write each photograph in grey: ``folder/NAME.png``."""
    for name, photo in photos.items():
        _write(folder / f"{name}.png", pixels.to_channels(read_image(photo)[0], 1))


def _write(path: Path, image_HWC: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(image_HWC, ".png"))


@dataclass(frozen=True)
class L1:
    """Mean absolute errors on crops, in levels of 255.

    Attributes:
        network: of the network's output.
        grey: of the grey input, copied to three channels: what doing nothing reaches.
    """

    network: float
    grey: float

    def __str__(self) -> str:
        return f"{self.network:.1f} levels; of the grey input {self.grey:.1f}"


def measure(model: Model, photo: Path, *, count: int = TEST_CROPS, seed: int) -> L1:
    """Measure on crops of a photograph; fresh ones come from a ``seed`` that no training pairs were cut with."""
    random = np.random.default_rng(seed)
    colour = read_image(photo)[0]
    target = np.stack([cut(colour, random, model.size[0]) for _ in range(count)])
    grey = np.stack([pixels.to_channels(crop, 1) for crop in target])
    return L1(*(float(np.abs(images.astype(np.float32) - target).mean()) for images in (model(grey), grey)))
