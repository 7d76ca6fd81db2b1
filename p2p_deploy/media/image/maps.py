"""Maps of classes and of instances: numbers that must arrive as they are.

Maps are (H, W, K) int32: classes and, where K is 2, instances. Pillow reads them, because OpenCV turns indices into a
palette into colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.base import EndOfStream, Frame, Item, ReadOptions
from p2p_deploy.pixels import Pixels, Row, resize, to_channels

Maps = NDArray[np.int32]
MAX_PIXELS = ReadOptions().max_pixels
SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
# Pillow's names for images whose values are numbers: 1 bit, 8 bits, indices into a palette, 16 and 32 bits.
_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")


def read_map(path: Path, max_pixels: int = MAX_PIXELS) -> Maps:
    """The numbers in an image file: grey values of up to 16 bits, or indices into a palette.

    Returns:
        (H, W, 1) int32.

    Raises:
        ItemFailed: the file cannot be read, has more than ``max_pixels``, or holds colours instead of numbers.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ItemFailed(f"{path} is no map of numbers; expected one of {', '.join(SUFFIXES)}, which lose nothing.")
    try:
        with Image.open(path) as image:
            if image.height * image.width > max_pixels:
                raise ItemFailed(
                    f"{path} is {image.height}x{image.width}, {image.height * image.width:,} pixels, and at most "
                    f"{max_pixels:,} are decoded. If you trust it, allow more."
                )
            mode = image.mode
            numbers = np.asarray(image) if mode in _MODES else None
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as exc:
        raise ItemFailed(f"{path} is damaged, or is no image: {str(exc).partition(' <')[0]}.") from exc
    except OSError as exc:  # Pillow's own, for files that are cut short, carry no strerror
        raise ItemFailed(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if numbers is None:
        raise ItemFailed(
            f"{path} holds colours (mode {mode}); expected the numbers of classes or instances: grey values or indices "
            "into a palette."
        )
    return numbers.astype(np.int32)[:, :, None]


def read_labels(path: Path, classes: int, max_pixels: int = MAX_PIXELS) -> Maps:
    """A map of classes.

    Returns:
        (H, W, 1) int32, from 0 to ``classes`` - 1.

    Raises:
        ItemFailed: see ``read_map``; or a number is no class of the model.
    """
    labels = read_map(path, max_pixels)
    wrong = np.unique(labels[(labels < 0) | (labels >= classes)])
    if wrong.size:
        some = ", ".join(map(str, wrong[:5].tolist())) + (", …" if wrong.size > 5 else "")
        raise ItemFailed(
            f"{path} has the labels {some}; the model knows 0 to {classes - 1}. Number them as in training."
        )
    return labels


def fit_into(maps_HWC: Maps, rows: Sequence[Row]) -> None:
    """Write maps of any size into rows (H, W, 1), by nearest neighbours: between two classes there is no third."""
    height, width = rows[0].shape[:2]
    fitted = cv2.resize(maps_HWC, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).reshape(height, width, -1)
    for index, row in enumerate(rows):
        row[...] = fitted[:, :, index : index + 1]


def draw_labels(photo_HWC: Pixels, classes: int) -> Maps:
    """A map that is divided as pictures are: the photograph's brightness, smoothed, in ``classes`` steps.

    Args:
        photo_HWC: (H, W, C) uint8.
        classes: how many.

    Returns:
        (H, W, 1) int32.
    """
    grey = resize(to_channels(photo_HWC, 1), 256, 256)
    steps: Maps = cv2.medianBlur(grey, 9).astype(np.int32) * classes // 256
    return steps.reshape(256, 256, 1)


def with_regions(labels_HWC: Maps) -> Maps:
    """Classes, and as instances the connected regions of each of them: (H, W, 1) to (H, W, 2)."""
    instances = np.zeros(labels_HWC.shape[:2], np.int32)
    first = 0
    for label in np.unique(labels_HWC):
        count, regions = cv2.connectedComponents((labels_HWC[:, :, 0] == label).astype(np.uint8), ltype=cv2.CV_32S)
        instances += np.where(regions > 0, regions + first, 0)
        first += count - 1
    return np.dstack([labels_HWC, instances])


def instances_of(labels: Path, name: str, instances: Path | None) -> Path | None:
    """The map of instances that belongs to a map of labels.

    Args:
        labels: the map of labels.
        name: its name relative to the folder that is run over.
        instances: a folder that mirrors that one, or the file itself; None for a model that takes none. In a folder the
            name is the same, in any of ``SUFFIXES``, or has ``instanceIds`` where the labels have ``labelIds``.

    Raises:
        ItemFailed: there is none.
    """
    if instances is None or not instances.is_dir():
        return instances
    wanted = instances / name
    named = [wanted, wanted.with_name(wanted.name.replace("labelIds", "instanceIds"))]
    for candidate in (path.with_suffix(suffix) for path in named for suffix in (path.suffix, *SUFFIXES)):
        if candidate.is_file():
            return candidate
    raise ItemFailed(f"{labels} has no map of instances: {wanted} does not exist.")


class MapSource:
    """One map of classes and, beside it, its map of instances: one item.

    Args:
        path: the map of classes.
        classes: how many the model knows.
        instances: the map of instances, or None for a model that takes none.
        max_pixels: of the largest map that is decoded.
    """

    sequential = False

    def __init__(self, path: Path, classes: int, instances: Path | None, max_pixels: int = MAX_PIXELS) -> None:
        self.path = path
        self.expected_frames: int | None = 1
        self.damage: str | None = None
        self._classes, self._instances, self._max_pixels = classes, instances, max_pixels

    def items(self) -> Iterator[Item]:
        """The one item."""
        yield Item(self.path, 0)

    def decode(self, item: Item, into: Pixels | None = None) -> tuple[Frame, Maps]:
        """Read the maps.

        Returns:
            What there is to know, and the maps (H, W, K) int32.

        Raises:
            ItemFailed: one of them cannot be used, or they differ in size.
        """
        if item.index:
            raise EndOfStream
        found = read_labels(self.path, self._classes, self._max_pixels)
        size = found.shape[:2]
        if self._instances:
            instances = read_map(self._instances, self._max_pixels)
            if instances.shape[:2] != size:
                (height, width), (rows, columns) = size, instances.shape[:2]
                raise ItemFailed(
                    f"{self.path} is {height}x{width} and its instances {self._instances} are {rows}x{columns}; "
                    "expected maps of one size."
                )
            found = np.dstack([found, instances])
        return Frame(0, size, 1), found

    def close(self) -> None:
        """Nothing is held open."""
