"""Pictures by class: DATA/train/CLASS/*.png; or without classes, in DATA/train or in folders in it.

Without the folder ``train``, DATA itself is taken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from p2p_deploy.errors import DataError
from p2p_deploy.pixels import Pixels
from trainers.data import View, list_images, read_picture, to_tensor

REMEMBERED_BYTES = 2**28  # of small pictures, which take longer to read than to learn from


def find_pictures(data: Path, split: str = "train") -> list[Path]:
    """The pictures in a folder and in the folders in it, sorted.

    Raises:
        DataError: the folder is missing, or there are none.
    """
    folder = _folder(data, split)
    found = [file for each in (folder, *_folders(folder)) for file in list_images(each)]
    if not found:
        raise DataError(f"{folder} holds no images, nor do the folders in it. Expected pictures in {data / split}.")
    return found


def find_classes(data: Path, split: str = "train") -> dict[str, list[Path]]:
    """The pictures of each class, by the names of their folders; classes and pictures are sorted.

    Raises:
        DataError: there are no two such folders, or one has no pictures.
    """
    folder = _folder(data, split)
    classes = {each.name: list_images(each) for each in _folders(folder)}
    if len(classes) < 2:
        raise DataError(
            f"{folder} holds {len(classes)} folders; expected two or more, one for each class with its pictures: "
            f"{data / split}/CLASS/*.png."
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(f"{folder / empty[0]} holds no images. Every folder is a class; remove it, or fill it.")
    return classes


def find_held_out(data: Path, classes: list[str]) -> list[list[Path]]:
    """The pictures of ``val``, else of ``test``, of each class, or of all where there are none; nothing without them.

    Raises:
        DataError: a class is missing, or there are no pictures.
    """
    split = next((split for split in ("val", "test") if (data / "train").is_dir() and (data / split).is_dir()), None)
    if split is None:
        return []
    if not classes:
        return [find_pictures(data, split)]
    found = find_classes(data, split)
    if list(found) != classes:
        raise DataError(f"{data / split} has the classes {', '.join(found)}; expected {', '.join(classes)}.")
    return list(found.values())


def _folder(data: Path, split: str) -> Path:
    if not data.is_dir():
        raise DataError(f"{data} is not a folder. Expected pictures in {data / split}.")
    return data / split if (data / split).is_dir() else data


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


class Pictures(Dataset[tuple[Tensor, int]]):
    """(picture (C, S, S) float32 in [-1, 1], number of its class), known by (epoch, index).

    Pictures are resized, and neither cropped nor flipped: a digit would become another one.

    Args:
        classes: the files of each class; a single class for pictures without any.
        size: side of what is given, pixels.
        channels: 1 for grey, 3 for colour.
    """

    def __init__(self, classes: list[list[Path]], size: int, channels: int) -> None:
        self.files = [(file, number) for number, files in enumerate(classes) for file in files]
        self.view, self.channels = View.whole(size), channels
        self._remembered: dict[int, Pixels] = {}
        self._room = REMEMBERED_BYTES // (size * size * channels)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        _, index = key
        picture = self._remembered.get(index)
        if picture is None:
            picture = np.ascontiguousarray(self.view.of(read_picture(self.files[index][0], self.channels)))
            if len(self._remembered) < self._room:
                self._remembered[index] = picture
        return to_tensor(picture), self.files[index][1]
