"""Aligned pairs: two pictures of the same thing, pixel for pixel.

Two layouts are read:

    DATA/train/*.jpg        A and B side by side in one picture (or DATA/*.jpg, without the folder ``train``)
    DATA/A/train/x.jpg      and DATA/B/train/x.png, matched by name without suffix
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from p2p_deploy import pixels
from p2p_deploy.errors import DataError, ItemFailed
from p2p_deploy.media.images import SUFFIXES, read_image
from p2p_deploy.pixels import Pixels
from p2p_deploy.spec import Direction

JITTER = 286 / 256  # pictures are resized to this times the training size, then cropped (Isola et al., appendix 6.2)


@dataclass(frozen=True)
class PairFiles:
    """Where one pair lies: two files, or one file twice when both halves are in it."""

    a: Path
    b: Path

    @property
    def side_by_side(self) -> bool:
        """Whether A and B are the halves of one picture."""
        return self.a == self.b


def find_pairs(data: Path, split: str = "train") -> list[PairFiles]:
    """List the aligned pairs of a data set, sorted by name.

    Raises:
        DataError: the folder is missing or empty, or A and B do not match.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder. Expected aligned pairs; see p2p train --help.")
    a_folder, b_folder = data / "A" / split, data / "B" / split
    if a_folder.is_dir() or b_folder.is_dir():
        return _match(a_folder, b_folder)
    folder = data / split if (data / split).is_dir() else data
    files = _images(folder)
    if not files:
        raise DataError(
            f"{folder} holds no images. Expected pairs side by side in {data / split}, or {data / 'A' / split} and "
            f"{data / 'B' / split}."
        )
    return [PairFiles(file, file) for file in files]


def _match(a_folder: Path, b_folder: Path) -> list[PairFiles]:
    sides = []
    for folder in (a_folder, b_folder):
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist, but its counterpart does. Pairs need both.")
        files = _images(folder)
        by_name = {path.stem: path for path in files}
        if len(by_name) < len(files):
            twice = next(path for path in files if by_name[path.stem] != path)
            raise DataError(f"{twice} and {by_name[twice.stem].name} have the same name; which one makes the pair?")
        sides.append(by_name)
    a_files, b_files = sides
    unmatched = sorted(a_files.keys() ^ b_files.keys())
    if unmatched:
        raise DataError(
            f"{len(unmatched)} pictures have no counterpart of the same name in {a_folder} and {b_folder}: "
            f"{', '.join(unmatched[:5])}{' …' if len(unmatched) > 5 else ''}."
        )
    if not a_files:
        raise DataError(f"{a_folder} holds no images.")
    return [PairFiles(a_files[name], b_files[name]) for name in sorted(a_files)]


def _images(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def read_pair(files: PairFiles, direction: Direction = "AtoB") -> tuple[Pixels, Pixels]:
    """Read a pair as (input, target), (H, W, C) uint8 each.

    Raises:
        DataError: a file cannot be read, or a side-by-side picture has an odd width.
    """
    try:
        a, _ = read_image(files.a)
        if files.side_by_side:
            width = a.shape[1]
            if width % 2:
                raise DataError(f"{files.a} is {width} pixels wide; two pictures side by side need an even width.")
            a, b = a[:, : width // 2], a[:, width // 2 :]
        else:
            b, _ = read_image(files.b)
    except ItemFailed as exc:
        raise DataError(f"A training picture cannot be used: {exc}") from exc
    return (a, b) if direction == "AtoB" else (b, a)


class AlignedPairs(Dataset[tuple[Tensor, Tensor]]):
    """Training crops: (input (C_in, S, S), target (3, S, S)) float32 in [-1, 1].

    Each is resized to 286/256 of the training size, cropped at random and flipped at random, both pictures alike. What
    happens to a picture is a function of (seed, epoch, index) and of nothing else.
    """

    def __init__(self, files: list[PairFiles], size: int, input_channels: int, direction: Direction, seed: int) -> None:
        self.files = files
        self.size = size
        self.channels = (input_channels, 3)
        self.direction = direction
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        random = np.random.default_rng((self.seed, epoch, index))
        large = round(self.size * JITTER)
        top, left = random.integers(0, large - self.size + 1, 2)
        flip = random.random() < 0.5
        crops = []
        for picture, channels in zip(read_pair(self.files[index], self.direction), self.channels, strict=True):
            image = pixels.to_channels(pixels.resize(picture, large, large), channels)
            crop = image[top : top + self.size, left : left + self.size]
            crops.append(to_tensor(crop[:, ::-1] if flip else crop))
        return crops[0], crops[1]


def to_tensor(image_HWC: Pixels) -> Tensor:
    """(H, W, C) uint8 to (C, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1))).float() / 127.5 - 1


def to_pixels(image_CHW: Tensor) -> Pixels:
    """(C, H, W) float in [-1, 1] to (H, W, C) uint8."""
    return ((image_CHW.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


class ShuffledEpochs(Sampler[list[tuple[int, int]]]):
    """Endless batches of (epoch, index), each epoch in its own order. A batch may straddle two; none is short."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count = count
        self.batch = batch
        self.seed = seed

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys = self._keys()
        while True:
            yield [next(keys) for _ in range(self.batch)]

    def _keys(self) -> Iterator[tuple[int, int]]:
        epoch = 0
        while True:
            for index in np.random.default_rng((self.seed, epoch)).permutation(self.count):
                yield epoch, int(index)
            epoch += 1


def make_loader(dataset: AlignedPairs, batch: int, seed: int, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """An endless loader of (input (N, C, S, S), target (N, 3, S, S)) batches."""
    sampler = ShuffledEpochs(len(dataset), batch, seed)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=workers > 0,
        worker_init_fn=_leave_ctrl_c_to_the_trainer,
    )


def _leave_ctrl_c_to_the_trainer(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
