"""What an image file says of itself: format, size, transparency, animation."""

from __future__ import annotations

from typing import NamedTuple


class Unreadable(Exception):
    """Why an image cannot be read: a predicate, to be put behind the name of the file."""


class Header(NamedTuple):
    """What an image says of itself.

    Attributes:
        format: its name, such as ``JPEG``.
        height: of the stored picture, before it is turned upright.
        width: likewise.
        alpha: it has an alpha channel, or a transparent colour.
        grey: it has an alpha channel and no colours; OpenCV gives three equal ones.
        cmyk: its colours are inks.
        animated: it holds several pictures that are shown in turn.
        depth: bits a channel where OpenCV leaves the numbers as they are (AVIF with 10 and 12), else 0.
        key: the grey value of a PNG that is transparent, which OpenCV passes over, or -1.
        orientation: as in EXIF, where the format has its own way to say it.
        profile: the ICC profile where OpenCV does not give it.
    """

    format: str
    height: int
    width: int
    alpha: bool = False
    grey: bool = False
    cmyk: bool = False
    animated: bool = False
    depth: int = 0
    key: int = -1
    orientation: int = 1
    profile: bytes | None = None
