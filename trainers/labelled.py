"""Maps of classes, and of instances, with the pictures that they are maps of; or, without maps, pictures twice.

    DATA/train_label/x.png   DATA/train_inst/x.png   DATA/train_img/x.jpg
    DATA/train_A/x.png       DATA/train_B/x.jpg

Names are matched without suffix and without the endings of Cityscapes. Those in ``val_…``, or else in ``test_…``, are
held out. Maps are read and resized by the code that a deployed network is fed by.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from p2p_deploy.checkpoints.conditions import label_inputs
from p2p_deploy.errors import DataError, ItemFailed
from p2p_deploy.media.base import Item
from p2p_deploy.media.image.files import read_image
from p2p_deploy.media.image.maps import MapSource, fit_into
from p2p_deploy.pixels import to_channels
from p2p_deploy.spec import ImageSpec, ModelSpec
from trainers.data import View, match_names, to_tensor
from trainers.material import Material
from trainers.options import TrainingOptions

GOLDEN = (math.sqrt(5) - 1) / 2
_CITYSCAPES = re.compile(r"(_gt(Fine|Coarse))?_(label|instance)Ids$|_leftImg8bit$")


def inputs_of(labels: int, *, instances: bool) -> tuple[tuple[ImageSpec, ...], int]:
    """What a network takes, and in how many channels.

    Args:
        labels: how many classes; 0 for pictures instead of maps.
        instances: whether the edges of instances are a further channel; with pictures there are none.
    """
    if not labels:
        return (ImageSpec.for_channels(3),), 3
    return label_inputs(labels, edges=instances), labels + instances


def find_labelled(data: Path, spec: ModelSpec, split: str = "train") -> list[tuple[Path, ...]]:
    """The files of each item: what ``spec`` takes, and last the target; sorted by name.

    Raises:
        DataError: a folder is missing or empty, or names do not match.
    """
    folders = [data / f"{split}_{what}" for what in _folders(spec)]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing:
        hint = ""
        if missing.name == f"{split}_inst":
            hint = " Or leave instances out with `instances=False`."
        elif (data / f"{split}_A").is_dir() and spec.input.kind == "labels":
            hint = " For pictures instead of labels, say `labels=0`."
        elif (data / f"{split}_label").is_dir() and spec.input.kind == "image":
            hint = " For a map of labels, say how many there are with `labels`."
        raise DataError(f"{missing} does not exist. Expected {', '.join(map(str, folders))}.{hint}")
    return match_names(folders, name_of)


def name_of(path: Path) -> str:
    """By what maps and pictures are matched: the name without suffix and without the endings of Cityscapes."""
    return _CITYSCAPES.sub("", path.stem)


def find_held_out(data: Path, spec: ModelSpec) -> list[tuple[Path, ...]]:
    """The items of ``val``, else of ``test``; none where neither has inputs and targets."""
    first, *_, last = _folders(spec)
    for split in ("val", "test"):
        if (data / f"{split}_{first}").is_dir() and (data / f"{split}_{last}").is_dir():
            return find_labelled(data, spec, split)
    return []


def _folders(spec: ModelSpec) -> list[str]:
    if spec.input.kind == "image":
        return ["A", "B"]
    return ["label", *(["inst"] if len(spec.inputs) > 1 else []), "img"]


class Labelled(Dataset[tuple[Tensor, ...]]):
    """Training crops: what a deployed network is given, and last the target (3, H, W) float32 in [-1, 1].

    What is given are maps (H, W, 1) int32, of classes and maybe of instances, or a picture (H, W, 3) uint8, each as
    large as ``spec.train_size``. All are resized to 286/256 of that, maps by nearest neighbours, cropped at random and
    flipped at random alike. What happens to an item is a function of (seed, epoch, index) and of nothing else. Without
    ``augment`` they are resized and nothing else.
    """

    def __init__(self, files: list[tuple[Path, ...]], spec: ModelSpec, seed: int, *, augment: bool = True) -> None:
        self.files, self.spec, self.seed, self.augment = files, spec, seed, augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, index = key
        *inputs, target = self.files[index]
        size = self.spec.train_size
        view = View.at_random((self.seed, epoch, index), *size) if self.augment else View.whole(*size)
        try:
            picture = view.of(to_channels(read_image(target)[0], 3))
            if self.spec.input.kind == "image":
                given = [view.of(to_channels(read_image(inputs[0])[0], 3))]
            else:
                given = [view.cut(row) for row in self._maps(inputs, view.large)]
        except ItemFailed as exc:
            raise DataError(f"A training picture cannot be used: {exc}") from exc
        return *(torch.from_numpy(np.ascontiguousarray(one)) for one in given), to_tensor(picture)

    def _maps(self, files: list[Path], size: tuple[int, int]) -> list[np.ndarray]:
        labels, instances = files[0], files[1] if len(files) > 1 else None
        source = MapSource(labels, self.spec.input.classes or 0, instances)
        _, found = source.decode(Item(labels, 0))
        rows = [np.empty((*size, 1), np.int32) for _ in files]
        fit_into(found, rows)
        return rows


def find_material(data: Path, spec: ModelSpec, options: TrainingOptions) -> Material:
    """What is trained on, and what is held out. Raises DataError where it cannot be used."""
    training = Labelled(find_labelled(data, spec), spec, options.seed)
    held_out = Labelled(find_held_out(data, spec), spec, options.seed, augment=False)
    notes = {"pictures": len(training), "notices": options.notices()}
    return Material(spec, training, held_out, held_out if len(held_out) else training, notes)


def to_colours(given: Tensor) -> Tensor:
    """What a network is given, as a picture (N, 3, H, W) in [-1, 1].

    Args:
        given: pictures (N, H, W, 3) uint8, or classes (N, H, W, 1), whose neighbours get colours far apart.
    """
    if given.shape[-1] == 3:
        return given.permute(0, 3, 1, 2).float() / 127.5 - 1
    turns = given.permute(0, 3, 1, 2) * GOLDEN + torch.arange(3, device=given.device).view(1, 3, 1, 1) / 3
    return torch.cos(2 * math.pi * turns)
