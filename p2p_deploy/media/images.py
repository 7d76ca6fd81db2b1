"""Still images, through OpenCV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from p2p_deploy.errors import ItemFailed
from p2p_deploy.files import temporary_name, write_failure
from p2p_deploy.media.base import EndOfStream, Frame, Item, ReadOptions, WriteOptions
from p2p_deploy.pixels import Pixels, to_depth

_EXTRA_SAMPLES = 338  # tag of a TIFF
DEPTH_LOST = "16-bit depth reduced to 8"
DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # which hold 16 bits a channel
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path: Path, *, deep: bool = False) -> tuple[Pixels, tuple[str, ...]]:
    """Decode an image file.

    Args:
        path: the file.
        deep: give 16-bit files as uint16 instead of reducing them.

    Returns:
        (H, W, C) uint8, or uint16, RGB (C = 3) or grey (C = 1), with the EXIF orientation applied; and notes of what
        was lost.

    Raises:
        ItemFailed: the file is missing, empty, damaged, or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ItemFailed(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if not data:
        raise ItemFailed(f"{path} is empty (0 bytes).")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as exc:
        raise ItemFailed(f"{path} cannot be decoded: {exc.err or exc}.") from exc
    if image is None:
        raise ItemFailed(f"{path} is damaged, or is not an image OpenCV can decode ({len(data)} bytes).")
    notes = []
    if _has_more_pages(data):
        notes.append("only the first page of a multi-page file")
    if _has_alpha(data):
        notes.append("alpha channel dropped")
    elif _EXTRA_SAMPLES in _read_tiff(data)[0]:
        notes.append("alpha blended over black")  # libtiff's doing
    if image.dtype == np.uint16 and not deep:
        image = to_depth(image, np.uint8)
        notes.append(DEPTH_LOST)
    elif image.dtype not in (np.uint8, np.uint16):
        raise ItemFailed(f"{path} holds {image.dtype} values; expected 8- or 16-bit whole numbers.")
    if image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), tuple(notes)
    return image[:, :, None], tuple(notes)


def encode_image(pixels_HWC: Pixels, suffix: str) -> bytes:
    """Encode (H, W, C), RGB or grey, in the format that ``suffix`` names, with OpenCV's default quality.

    16-bit images keep their depth in ``DEEP_SUFFIXES`` and are written with 8 bits otherwise.

    Raises:
        ValueError: the format cannot hold this image.
    """
    if suffix not in DEEP_SUFFIXES:
        pixels_HWC = to_depth(pixels_HWC, np.uint8)
    bgr = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR) if pixels_HWC.shape[2] == 3 else pixels_HWC
    try:
        done, data = cv2.imencode(suffix, bgr)
    except cv2.error as exc:
        raise ValueError(exc.err or str(exc)) from exc
    if not done:
        raise ValueError(f"OpenCV cannot write {suffix}")
    return data.tobytes()


def _has_more_pages(data: bytes) -> bool:
    """Whether a TIFF's first directory names a second one, or a PNG or a WebP is animated."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"acTL" in data[: data.find(b"IDAT")]
    if data[8:16] == b"WEBPVP8X":
        return len(data) > 20 and bool(data[20] & 0x02)
    return _read_tiff(data)[1]


def _read_tiff(data: bytes) -> tuple[set[int], bool]:
    """The tags of a TIFF's first directory, and whether there is a second one; nothing for other files."""
    order: Literal["little", "big"]
    if data.startswith(b"II*\x00"):
        order = "little"
    elif data.startswith(b"MM\x00*"):
        order = "big"
    else:
        return set(), False
    entries = int.from_bytes(data[4:8], order) + 2
    after = entries + 12 * int.from_bytes(data[entries - 2 : entries], order)
    tags = {int.from_bytes(data[at : at + 2], order) for at in range(entries, min(after, len(data)), 12)}
    return tags, any(data[after : after + 4])


def _has_alpha(data: bytes) -> bool:
    """Whether a PNG (colour type, tRNS) or a WebP (flag of VP8X, bit 28 of VP8L) announces transparency."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return len(data) > 25 and (data[25] in (4, 6) or b"tRNS" in data[: data.find(b"IDAT")])
    flag_byte = {b"WEBPVP8X": 20, b"WEBPVP8L": 24}.get(data[8:16])
    return flag_byte is not None and len(data) > flag_byte and bool(data[flag_byte] & 0x10)


class ImageSource:
    """One image file: one item."""

    sequential = False

    def __init__(self, path: Path, options: ReadOptions = ReadOptions()) -> None:
        self.path = path
        self.expected_frames: int | None = 1
        self.damage: str | None = None

    def items(self) -> Iterator[Item]:
        """The one item."""
        yield Item(self.path, 0)

    def decode(self, item: Item) -> tuple[Frame, Pixels]:
        """Read and decode the file; see ``read_image``."""
        if item.index:
            raise EndOfStream
        pixels, notes = read_image(self.path, deep=True)
        return Frame(0, pixels.shape[:2], pixels.shape[2], notes=notes, depth=8 * pixels.itemsize), pixels

    def close(self) -> None:
        """Nothing is held open."""


class ImageSink:
    """One image file; the suffix of ``path`` says the format."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, options: WriteOptions = WriteOptions()) -> None:
        self.path = path
        self._temporary = temporary_name(path)

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Encode and write under the temporary name."""
        try:
            data = encode_image(pixels_HWC, self.path.suffix.lower())
        except ValueError as exc:
            raise ItemFailed(f"{self.path} cannot be encoded: {exc}.") from exc
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.write_bytes(data)
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def close(self) -> None:
        """Give the file its final name."""
        try:
            self._temporary.replace(self.path)
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def abort(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(OSError):  # a disk that is gone cannot be tidied
            self._temporary.unlink(missing_ok=True)
