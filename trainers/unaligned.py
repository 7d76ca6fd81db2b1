"""Two collections of pictures without pairs: DATA/trainA and DATA/trainB, of any sizes and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from p2p_deploy.errors import DataError
from trainers.data import View, list_images, read_picture, to_tensor


def find_domains(data: Path, split: str = "train") -> tuple[list[Path], list[Path]]:
    """The pictures of both domains, each sorted by name.

    Raises:
        DataError: a folder is missing or empty.
    """
    domains = []
    for side in "AB":
        folder = data / f"{split}{side}"
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist. Expected pictures in {data}/{split}A and {data}/{split}B.")
        found = list_images(folder)
        if not found:
            raise DataError(f"{folder} holds no images.")
        domains.append(found)
    return domains[0], domains[1]


def find_held_out(data: Path) -> tuple[list[Path], list[Path]]:
    """The domains of ``val``, else of ``test``; empty where neither has both."""
    for split in ("val", "test"):
        if all((data / f"{split}{side}").is_dir() for side in "AB"):
            return find_domains(data, split)
    return [], []


class Unaligned(Dataset[tuple[Tensor, Tensor]]):
    """Training crops of A and B, (3, S, S) float32 in [-1, 1] each, that have nothing to do with one another.

    An epoch is as long as the larger domain. The partner of a picture, and what happens to both, are functions of
    (seed, epoch, index). Without ``augment`` pictures are resized, and the i-th of A goes with the i-th of B.
    """

    def __init__(self, a: list[Path], b: list[Path], size: int, seed: int, *, augment: bool = True) -> None:
        self.domains = a, b
        self.size, self.seed, self.augment = size, seed, augment

    def __len__(self) -> int:
        return max(map(len, self.domains))

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        partner = index
        if self.augment:
            partner = int(np.random.default_rng((self.seed, epoch, index, 2)).integers(len(self.domains[1])))
        indices = index % len(self.domains[0]), partner % len(self.domains[1])
        a, b = (
            self._crop(files[number], (self.seed, epoch, index, side))
            for side, (files, number) in enumerate(zip(self.domains, indices, strict=True))
        )
        return a, b

    def _crop(self, path: Path, seed: tuple[int, ...]) -> Tensor:
        view = View.at_random(seed, self.size) if self.augment else View.whole(self.size)
        return to_tensor(view.of(read_picture(path, 3)))
