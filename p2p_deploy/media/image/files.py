"""Still images: files in, files out. What is in them is the business of ``image_decoding`` and ``image_encoding``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from p2p_deploy.errors import ItemFailed
from p2p_deploy.files import NO_WAITING, temporary_path, write_failure
from p2p_deploy.media.base import EndOfStream, Frame, Item, ReadOptions, WriteOptions
from p2p_deploy.media.image.decoding import Decoded, decode_image, decode_page, most_bytes
from p2p_deploy.media.image.encoding import DEEP_SUFFIXES, TIFF_SUFFIXES, encode, open_for_writing, writing_notes
from p2p_deploy.media.image.header import Unreadable
from p2p_deploy.media.image.tiff import Tiff
from p2p_deploy.pixels import Pixels, to_depth

DEPTH_LOST = "16-bit depth reduced to 8"
WRITTEN_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"),
    *((".avif",) if cv2.haveImageWriter("x.avif") else ()),
)
SUFFIXES = (*WRITTEN_SUFFIXES, ".gif")  # a palette of 256 colours is nothing to write photographs with

__all__ = [
    "DEEP_SUFFIXES",
    "DEPTH_LOST",
    "SUFFIXES",
    "TIFF_SUFFIXES",
    "WRITTEN_SUFFIXES",
    "ImageSink",
    "ImageSource",
    "encode_image",
    "read_image",
    "writing_notes",
]


def read_image(path: Path, *, deep: bool = False) -> tuple[Pixels, tuple[str, ...]]:
    """Decode an image file without its alpha; of several pages, the first.

    Args:
        path: the file.
        deep: give 16-bit files as uint16 instead of reducing them.

    Returns:
        (H, W, C) uint8, or uint16, RGB (C = 3) or grey (C = 1), with the EXIF orientation applied; and notes of what
        was lost.

    Raises:
        ItemFailed: the file is missing, empty, damaged, too large, animated, or no image.
    """
    decoded = _decode_file(path, ReadOptions().max_pixels)
    pixels, notes = decoded.pixels, decoded.notes
    if decoded.alpha is not None:
        notes = (*notes, "alpha channel dropped")
    if pixels.dtype == np.uint16 and not deep:
        pixels, notes = to_depth(pixels, np.uint8), (*notes, DEPTH_LOST)
    return pixels, notes


def encode_image(pixels_HWC: Pixels, suffix: str) -> bytes:
    """Encode (H, W, C), RGB or grey, in the format that ``suffix`` names; see ``image_encoding.encode``.

    Raises:
        ValueError: the format cannot hold this image.
    """
    return encode(pixels_HWC, suffix).tobytes()


def _decode_file(path: Path, max_pixels: int, into: Pixels | None = None) -> Decoded:
    data = _read_file(path, most_bytes(max_pixels))
    try:
        return decode_image(data, max_pixels, into)
    except Unreadable as exc:
        raise ItemFailed(f"{path} {exc}.") from exc


_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | NO_WAITING


def _read_file(path: Path, most: int) -> bytes:
    """All bytes of a file. Without ``pathlib`` and file objects, which cost as much as the system calls."""
    try:
        descriptor = os.open(path, _READ)
        try:
            size = os.fstat(descriptor).st_size
            if size > most:
                raise ItemFailed(
                    f"{path} has {size:,} bytes, more than the largest picture that is decoded. If you trust it, raise "
                    "`max_pixels`."
                )
            data = os.read(descriptor, size + 1)
            while len(data) <= size:  # one call reads 2 GiB at most
                more = os.read(descriptor, size + 1 - len(data))
                if not more:
                    break
                data += more
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise ItemFailed(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if not data:
        raise ItemFailed(f"{path} is empty (0 bytes).")
    return data


def _reader(descriptor: int) -> Callable[[int, int], bytes]:
    def read(at: int, count: int) -> bytes:
        os.lseek(descriptor, at, os.SEEK_SET)
        return os.read(descriptor, count)

    return read


class ImageSource:
    """One image file: one item, or as many as its TIFF has pages, which are decoded in order.

    Attributes:
        pages: how many pictures it holds.
    """

    def __init__(self, path: Path, options: ReadOptions = ReadOptions()) -> None:
        self.path = path
        self.damage: str | None = None
        self.sequential = False
        self.expected_frames: int | None = 1
        self.pages = 1
        self._max_pixels = options.max_pixels
        self._descriptor: int | None = None
        if path.suffix.lower() in TIFF_SUFFIXES:
            self._look_for_pages()

    def _look_for_pages(self) -> None:
        """Keep a file of several pages open; any other is opened again when it is decoded."""
        try:
            descriptor = os.open(self.path, _READ)
        except OSError as exc:
            raise ItemFailed(f"{self.path} cannot be read: {exc.strerror or exc}.") from exc
        try:
            self._tiff = Tiff(_reader(descriptor), os.fstat(descriptor).st_size)
            self.pages = len(self._tiff.places)
        except Unreadable:
            return  # decoding says the same, or that it is another format under this name
        except OSError as exc:
            raise ItemFailed(f"{self.path} cannot be read: {exc.strerror or exc}.") from exc
        finally:
            if self.pages > 1:
                self._descriptor, self.sequential, self.expected_frames = descriptor, True, self.pages
            else:
                os.close(descriptor)

    def items(self) -> Iterator[Item]:
        """One item a page."""
        for index in range(self.pages):
            yield Item(self.path, index)

    def decode(self, item: Item, into: Pixels | None = None) -> tuple[Frame, Pixels]:
        """Read and decode a page; see ``decode_image``."""
        if item.index >= self.pages:
            raise EndOfStream
        if self._descriptor is None:
            pixels, alpha, profile, exif, notes = _decode_file(self.path, self._max_pixels, into)
        else:
            pixels, alpha, profile, exif, notes = self._decode_page(item.index)
        frame = Frame(
            item.index,
            pixels.shape[:2],
            pixels.shape[2],
            pts=item.index,
            notes=notes,
            depth=8 * pixels.itemsize,
            alpha=alpha,
            profile=profile,
            exif=exif,
        )
        return frame, pixels

    def _decode_page(self, index: int) -> Decoded:
        try:
            return decode_page(self._tiff, index, self._max_pixels)
        except Unreadable as exc:
            raise ItemFailed(f"{self.path}, page {index + 1} of {self.pages}, {exc}.") from exc
        except OSError as exc:
            raise ItemFailed(f"{self.path} cannot be read: {exc.strerror or exc}.") from exc

    def close(self) -> None:
        """Close a file of several pages."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ImageSink:
    """One image file; the suffix of ``path`` says the format."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, options: WriteOptions = WriteOptions()) -> None:
        self.path = path
        self._temporary = temporary_path(os.fspath(path))
        self._quality = options.quality

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Encode and write under the temporary name."""
        try:
            data = encode(
                pixels_HWC,
                self.path.suffix.lower(),
                quality=self._quality,
                alpha=frame.alpha,
                profile=frame.profile,
                exif=frame.exif,
            )
        except (ValueError, cv2.error) as exc:
            raise ItemFailed(f"{self.path} cannot be encoded: {exc}.") from exc
        descriptor = open_for_writing(self.path, self._temporary)
        try:
            left = data.data
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError as exc:
            raise write_failure(self.path, exc) from exc
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Give the file its final name."""
        try:
            os.replace(self._temporary, self.path)  # noqa: PTH105
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def abort(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(OSError):  # a disk that is gone cannot be tidied
            os.unlink(self._temporary)  # noqa: PTH108
