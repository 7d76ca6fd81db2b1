"""Aligned pairs: two pictures of the same thing, pixel for pixel.

Two layouts are read:

    DATA/train/*.jpg        A and B side by side in one picture (or DATA/*.jpg, without the folder ``train``)
    DATA/A/train/x.jpg      and DATA/B/train/x.png, matched by name without suffix
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from p2p_deploy import pixels
from p2p_deploy.errors import DataError, ItemFailed
from p2p_deploy.media.image.files import SUFFIXES, read_image
from p2p_deploy.pixels import Pixels
from p2p_deploy.spec import Direction
from trainers.options import TrainingOptions

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


def find_held_out(data: Path) -> list[PairFiles]:
    """The pairs in ``val``, else in ``test``; none where there is neither."""
    for split in ("val", "test"):
        if (data / split).is_dir() or (data / "A" / split).is_dir():
            return find_pairs(data, split)
    return []


def find_pairs(data: Path, split: str = "train") -> list[PairFiles]:
    """List the aligned pairs of a data set, sorted by name.

    Raises:
        DataError: the folder is missing or empty, or A and B do not match.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder. Expected aligned pairs; see docs/cli.md, p2p train.")
    a_folder, b_folder = data / "A" / split, data / "B" / split
    if a_folder.is_dir() or b_folder.is_dir():
        return [PairFiles(a, b) for a, b in match_names((a_folder, b_folder))]
    folder = data / split if (data / split).is_dir() else data
    files = list_images(folder)
    if not files:
        raise DataError(
            f"{folder} holds no images. Expected pairs side by side in {data / split}, or {data / 'A' / split} and "
            f"{data / 'B' / split}."
        )
    return [PairFiles(file, file) for file in files]


def match_names(
    folders: Sequence[Path], name_of: Callable[[Path], str] = lambda path: path.stem
) -> list[tuple[Path, ...]]:
    """The pictures of the same name in several folders, sorted by it.

    Args:
        folders: where to look.
        name_of: what is to be the same.

    Raises:
        DataError: a folder is missing or empty, or pictures have no counterpart, or several.
    """
    sides = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist, but its counterpart does. Pairs need both.")
        files = list_images(folder)
        by_name = {name_of(path): path for path in files}
        if len(by_name) < len(files):
            twice = next(path for path in files if by_name[name_of(path)] != path)
            raise DataError(f"{twice} and {by_name[name_of(twice)].name} have the same name; which one makes the pair?")
        sides.append(by_name)
    names = {name for side in sides for name in side}
    unmatched = sorted(name for name in names if any(name not in side for side in sides))
    if unmatched:
        raise DataError(
            f"{len(unmatched)} pictures have no counterpart of the same name in {' and '.join(map(str, folders))}: "
            f"{', '.join(unmatched[:5])}{' …' if len(unmatched) > 5 else ''}."
        )
    if not names:
        raise DataError(f"{folders[0]} holds no images.")
    return [tuple(side[name] for side in sides) for name in sorted(names)]


def list_images(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name; hidden ones left out."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def read_picture(path: Path, channels: int) -> Pixels:
    """A picture (H, W, C) uint8. Raises DataError where it cannot be read."""
    try:
        return pixels.to_channels(read_image(path)[0], channels)
    except ItemFailed as exc:
        raise DataError(f"A training picture cannot be used: {exc}") from exc


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


@dataclass(frozen=True)
class View:
    """Which part of a picture is shown, and which way round.

    Attributes:
        large: (height, width) that the picture is resized to, pixels.
        size: (height, width) of what is shown.
        top, left: of what is shown.
        flip: whether it is mirrored.
    """

    large: tuple[int, int]
    size: tuple[int, int]
    top: int = 0
    left: int = 0
    flip: bool = False

    @classmethod
    def at_random(cls, seed: tuple[int, ...], height: int, width: int | None = None) -> View:
        """A crop and a flip that depend on ``seed`` only; square without a ``width``."""
        random = np.random.default_rng(seed)
        size = height, width or height
        large = round(size[0] * JITTER), round(size[1] * JITTER)
        top, left = random.integers(0, (large[0] - size[0] + 1, large[1] - size[1] + 1))
        return cls(large, size, int(top), int(left), bool(random.random() < 0.5))

    @classmethod
    def whole(cls, height: int, width: int | None = None) -> View:
        """All of the picture."""
        return cls((height, width or height), (height, width or height))

    def of(self, image_HWC: Pixels) -> Pixels:
        """That part of a picture of any size, (height, width, C)."""
        part: Pixels = self.cut(pixels.resize(image_HWC, *self.large))
        return part

    def cut(self, image_HWC: Any) -> Any:
        """The same of one that is resized already."""
        height, width = self.size
        part = image_HWC[self.top : self.top + height, self.left : self.left + width]
        return part[:, ::-1] if self.flip else part


class AlignedPairs(Dataset[tuple[Tensor, Tensor]]):
    """Training crops: (input (C_in, S, S), target (3, S, S)) float32 in [-1, 1].

    Each is resized to 286/256 of the training size, cropped at random and flipped at random, both pictures alike. What
    happens to a picture is a function of (seed, epoch, index) and of nothing else. Without ``augment`` pictures are
    resized and nothing else.
    """

    def __init__(
        self,
        files: list[PairFiles],
        size: int,
        input_channels: int,
        direction: Direction,
        seed: int,
        *,
        augment: bool = True,
    ) -> None:
        self.augment = augment
        self.files = files
        self.size = size
        self.channels = (input_channels, 3)
        self.direction = direction
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        view = View.at_random((self.seed, epoch, index), self.size) if self.augment else View.whole(self.size)
        both = zip(read_pair(self.files[index], self.direction), self.channels, strict=True)
        source, target = (to_tensor(view.of(pixels.to_channels(picture, channels))) for picture, channels in both)
        return source, target


def to_tensor(image_HWC: Pixels) -> Tensor:
    """(H, W, C) uint8 to (C, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1))).float() / 127.5 - 1


def to_pixels(image_CHW: Tensor) -> Pixels:
    """(C, H, W) float in [-1, 1] to (H, W, C) uint8."""
    return ((image_CHW.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


class ShuffledEpochs(Sampler[list[tuple[int, int]]]):
    """Endless batches of (epoch, index), each epoch in its own order. A batch may straddle two; none is short.

    Args:
        count: pictures in an epoch.
        batch: pictures in a batch.
        seed: of the order.
        start: number of the batch to begin with.
        part: which of ``parts`` equal shares of each step this process takes; together they are the batch of a
            process that is alone and takes ``parts`` times as many.
        parts: how many processes there are.
    """

    def __init__(self, count: int, batch: int, seed: int, start: int = 0, part: int = 0, parts: int = 1) -> None:
        self.count = count
        self.batch = batch
        self.seed = seed
        self.start = start
        self.part, self.parts = part, parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys = self._keys(self.start * self.batch * self.parts)
        while True:
            together = [next(keys) for _ in range(self.batch * self.parts)]
            yield together[self.part * self.batch : (self.part + 1) * self.batch]

    def _keys(self, start: int) -> Iterator[tuple[int, int]]:
        epoch, skip = divmod(start, self.count)
        while True:
            for index in np.random.default_rng((self.seed, epoch)).permutation(self.count)[skip:]:
                yield epoch, int(index)
            epoch, skip = epoch + 1, 0


def loader_of(dataset: Dataset[Any], fabric: Fabric, options: TrainingOptions) -> Callable[[int], Iterable[Any]]:
    """What gives endless batches of ``dataset``, on the device, from the one of that number on.

    The items of ``dataset`` are known by (epoch, index).
    """
    workers = options.workers
    if workers is None:  # on the CPU the network needs every core; loading in the same process costs it the least
        workers = 0 if fabric.device.type == "cpu" else 4

    def batches(start: int) -> Iterable[Any]:
        loader = DataLoader(
            dataset,
            batch_sampler=ShuffledEpochs(
                len(dataset),  # type: ignore[arg-type]
                options.batch,
                options.seed,
                start,
                fabric.global_rank,
                fabric.world_size,
            ),
            num_workers=workers,
            pin_memory=workers > 0 and fabric.device.type == "cuda",
            worker_init_fn=_leave_ctrl_c_to_the_trainer,
        )
        return fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    return batches


def batch_of(dataset: Dataset[Any], indices: Iterable[int], device: torch.device) -> Any:
    """One batch of the items as they are in the first epoch, on ``device``."""
    return move_data_to_device(default_collate([dataset[0, index] for index in indices]), device)


class HeldOut:
    """Batches of a data set that is measured and not learnt from; loaded anew each time.

    Args:
        dataset: whose items are neither cropped nor flipped at random.
        batch: pictures at once.
        device: where they are wanted.
        most: how many pictures are looked at.
    """

    def __init__(self, dataset: Dataset[Any], batch: int, device: torch.device, most: int = 200) -> None:
        self.dataset, self.batch, self.device = dataset, batch, device
        self.count = min(len(dataset), most)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.count, self.batch):
            yield batch_of(self.dataset, range(start, min(start + self.batch, self.count)), self.device)


def _leave_ctrl_c_to_the_trainer(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
