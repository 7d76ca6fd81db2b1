"""What every kind of input and output looks like from outside.

To add a format: a suffix in ``images.py``, a line in ``containers.py``, or one new file with a source and a sink that
``open_source`` and ``open_sink`` open; the shared contract test does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from p2p_deploy.options.run import MAX_PIXELS
from p2p_deploy.pixels import Pixels


class EndOfStream(Exception):
    """There is no frame for this item: the stream ended before it. Not an error."""


@dataclass(frozen=True, slots=True)
class Item:
    """A frame that is to be decoded: cheap, holds no pixels."""

    path: Path
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Everything about a decoded frame but its pixels.

    Attributes:
        index: position within its file, from 0.
        size: (height, width) in pixels.
        channels: 3 for RGB, 1 for grey.
        pts: presentation time stamp in units of ``time_base``; 0 for a still image.
        duration: how long it is shown, in units of ``time_base``; 0 for a still image.
        time_base: seconds per unit.
        notes: what was lost in reading it, e.g. ``alpha channel dropped``.
        depth: bits a channel, 8 or 16.
        alpha: (H, W, 1) of that depth, opaque at the largest number; carried to outputs that can hold it.
        profile: the ICC profile that the colours are meant in.
        exif: the EXIF block, its orientation made the upright one, since pixels are given upright.
    """

    index: int
    size: tuple[int, int]
    channels: int
    pts: int = 0
    duration: int = 0
    time_base: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()
    depth: int = 8
    alpha: Pixels | None = None
    profile: bytes | None = None
    exif: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How inputs are read.

    Attributes:
        max_pixels: height x width of the largest picture or video frame that is decoded.
        deep: give videos of more than 8 bits as 16-bit pixels, for a model that takes values, and not reduced to 8.
        raw: (height, width) of raw frames; the input is then standard input, and the output standard output.
    """

    max_pixels: int = MAX_PIXELS
    deep: bool = False
    raw: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How outputs are written; None is the format's own default.

    Attributes:
        quality: of JPEG, WebP and AVIF, from 1 to 100.
        codec: of videos, one of ``containers.CODECS``.
        crf: of videos, constant rate factor of the codec; smaller is better.
    """

    quality: int | None = None
    codec: str | None = None
    crf: int | None = None


class FrameSource(Protocol):
    """One input file.

    Attributes:
        path: the file.
        sequential: True when frames can be decoded only in order and on one thread.
        expected_frames: how many frames its header promises, or None.
        damage: after the last item, a sentence if the file turned out to be incomplete, else None.
    """

    path: Path
    sequential: bool
    expected_frames: int | None
    damage: str | None

    def items(self) -> Iterator[Item]:
        """Items in order. May go past the end, as long as it stops soon after ``decode`` met the end."""
        ...

    def decode(self, item: Item, into: Pixels | None = None) -> tuple[Frame, NDArray[Any]]:
        """Decode one frame into pixels (H, W, C) of its depth, RGB or grey; or into maps of numbers.

        Args:
            item: which one.
            into: uint8, contiguous; where it has the shape of the frame, that may be what is returned.

        Raises:
            ItemFailed: the frame cannot be read.
            EndOfStream: there is no such frame.
        """
        ...

    def close(self) -> None:
        """Release the file; may be called twice."""
        ...


class FrameSink(Protocol):
    """One output file, written under a temporary name until ``close``.

    Attributes:
        path: its final name.
        notes: from the first frame on, what of the input this kind of output does not hold or holds differently.
    """

    path: Path
    notes: tuple[str, ...]

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Append one frame's output, (H, W, C) of 8 or 16 bits; ``frame`` says when it is shown.

        Raises:
            ItemFailed: this output cannot be encoded.
            Failed: the disk does not take it.
        """
        ...

    def close(self) -> None:
        """Finish the file and give it its final name. Raises like ``write``."""
        ...

    def abort(self) -> None:
        """Remove what was written under the temporary name; never raises, and may be called at any time."""
        ...
