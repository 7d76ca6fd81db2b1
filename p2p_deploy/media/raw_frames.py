"""Raw frames through pipes: height x width x 3 bytes each, RGB, one after the other, without a header."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.files import write_failure
from p2p_deploy.media.base import EndOfStream, Frame, Item
from p2p_deploy.pixels import Pixels, to_channels, to_depth

STANDARD_STREAM = Path("-")


def standard_input(height: int, width: int) -> RawSource:
    """Raw frames of that size from standard input."""
    return RawSource(sys.stdin.buffer, height, width)


def standard_output() -> RawSink:
    """Raw frames to standard output, past Python's buffer, which would be tried again at exit when the reader left."""
    return RawSink(io.FileIO(sys.stdout.fileno(), "w", closefd=False))


class RawSource:
    """Frames of one size, read from an open binary file such as ``sys.stdin.buffer`` until it ends.

    Args:
        file: where they come from; it is left open.
        height: pixels.
        width: pixels.
    """

    sequential = True

    def __init__(self, file: BinaryIO, height: int, width: int) -> None:
        self.path = STANDARD_STREAM
        self.expected_frames: int | None = None
        self.damage: str | None = None
        self._file = file
        self._shape = (height, width, 3)
        self._ended = False

    def items(self) -> Iterator[Item]:
        """Items until ``decode`` has met the end."""
        index = 0
        while not self._ended:
            yield Item(self.path, index)
            index += 1

    def decode(self, item: Item, into: Pixels | None = None) -> tuple[Frame, Pixels]:
        """The next frame. One that is cut off ends the stream and sets ``damage``."""
        if self._ended:
            raise EndOfStream
        if into is None or into.shape != self._shape:
            into = np.empty(self._shape, np.uint8)
        pixels_HWC = into
        try:
            read = _fill(self._file, pixels_HWC.data.cast("B"))
        except (OSError, ValueError) as exc:  # ValueError: the file is closed
            raise ItemFailed(f"The raw frames cannot be read after frame {item.index} ({exc}).") from exc
        if read < pixels_HWC.nbytes:
            self._ended = True
            if read:
                self.damage = (
                    f"The raw frames end in the middle of one: {read} bytes came after frame {item.index}; expected "
                    f"{pixels_HWC.nbytes} ({'x'.join(map(str, self._shape))})"
                )
            raise EndOfStream
        return Frame(item.index, self._shape[:2], 3, item.index), pixels_HWC

    def close(self) -> None:
        """Ask for no more frames; the file is not ours to close."""
        self._ended = True


def _fill(file: BinaryIO, buffer: memoryview) -> int:
    """Read until ``buffer`` is full or the file ends; a pipe gives what it has. Returns how many bytes were read."""
    read = 0
    while read < len(buffer):
        more = file.readinto(buffer[read:])  # type: ignore[attr-defined]
        if not more:
            break
        read += more
    return read


class RawSink:
    """Frames written to an open file without a buffer, each as soon as it is there."""

    notes: tuple[str, ...] = ()

    def __init__(self, file: io.RawIOBase | BinaryIO) -> None:
        self.path = STANDARD_STREAM
        self._file = file

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Write one frame as RGB.

        Raises:
            Failed: the reader has gone, or the disk behind it is full.
        """
        left = np.ascontiguousarray(to_depth(to_channels(pixels_HWC, 3), np.uint8)).data.cast("B")
        try:
            while left:  # a pipe takes what it has room for
                left = left[self._file.write(left) or 0 :]
        except BrokenPipeError as exc:
            raise Failed(
                f"Whoever reads the raw frames stopped after frame {frame.index}, so the run stops too. "
                "Let it read to the end."
            ) from exc
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def close(self) -> None:
        """Every frame was written; the file is not ours to close."""

    def abort(self) -> None:
        """What was written is with its reader and cannot be taken back."""
