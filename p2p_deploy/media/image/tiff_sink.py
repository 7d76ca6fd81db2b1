"""TIFF files of many pages, written one after the other."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

import cv2

from p2p_deploy.errors import ItemFailed
from p2p_deploy.files import temporary_path, write_failure
from p2p_deploy.media.base import Frame
from p2p_deploy.media.image.encoding import open_for_writing, tiff_page
from p2p_deploy.pixels import Pixels


class TiffSink:
    """A TIFF of many pages. Memory holds one of them."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = temporary_path(os.fspath(path))
        self._file: BinaryIO | None = None
        self._pointer = 0  # where the place of the next directory is to be written

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Append a page."""
        file = self._file or self._open()
        try:
            end = file.seek(0, os.SEEK_END)
            page = tiff_page(pixels_HWC, frame.alpha, frame.profile, end + (end & 1) if end else None)
        except (ValueError, cv2.error) as exc:
            raise ItemFailed(f"{self.path}, page {frame.index + 1} cannot be encoded: {exc}.") from exc
        try:
            file.write(b"\x00" * (end & 1) + page.data)
            if self._pointer:
                file.seek(self._pointer)
                file.write(page.directory.to_bytes(4, "little"))
        except OSError as exc:
            raise write_failure(self.path, exc) from exc
        self._pointer = page.pointer

    def _open(self) -> BinaryIO:
        descriptor = open_for_writing(self.path, self._temporary)
        self._file = os.fdopen(descriptor, "w+b")
        return self._file

    def close(self) -> None:
        """Finish the file and give it its final name."""
        try:
            if self._file is not None:
                self._file.close()
            os.replace(self._temporary, self.path)  # noqa: PTH105
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def abort(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(OSError):  # a disk that is gone cannot be tidied
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)  # noqa: PTH108
