"""The shape of pixels in Matroska and WebM, which have it in the header of a track, where PyAV cannot put it.

The header is written with a track name as long as what is to come, and the bytes are exchanged when the file is done.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from p2p_deploy.media.video.truncation import SEGMENT, variable_size

# As the name of the video track: it makes room for two numbers, a longer size of what holds them, and a Void.
PLACEHOLDER = "." * 40
_HEAD_BYTES = 1 << 20
_TRACKS, _TRACK, _VIDEO, _NAME = b"\x16\x54\xae\x6b", b"\xae", b"\xe0", b"\x53\x6e"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_IS_RATIO = b"\x03"
_CRC, _VOID = b"\xbf", b"\xec"


def write_aspect(path: Path, size: tuple[int, int], ratio: Fraction) -> bool:
    """Say in a finished file that its pixels are ``ratio`` times as wide as high.

    Args:
        path: a file whose video track is named ``PLACEHOLDER``.
        size: (height, width) of its frames.
        ratio: of a pixel.

    Returns:
        Whether there was the place to say it.
    """
    display = _display(size, ratio)
    with path.open("r+b") as file:
        head = file.read(_HEAD_BYTES)
        for name, start, end in _elements(head, 0, len(head)):
            if name == _TRACKS and end <= len(head):
                content = _with_aspect(head[start:end], display)
                if content is not None:
                    file.seek(start)
                    file.write(content)
                return content is not None
    return False


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(identifier, start, end) of the content of each element; those inside the segment count as its neighbours."""
    while at < end:
        width = 9 - data[at].bit_length()
        name = data[at : at + width]
        size, start = variable_size(data, at + width)
        if name == SEGMENT:
            at = start
        elif size is None:
            return
        else:
            yield name, start, start + size
            at = start + size


def _with_aspect(tracks: bytes, display: bytes) -> bytes | None:
    """The content of Tracks, as long as before, with a display size; None where it has no room for it."""
    for name, start, end in _elements(tracks, 0, len(tracks)):
        if name == _TRACK:
            track = _track_with_aspect(tracks[start:end], display)
            if track is not None:
                tracks = tracks[:start] + track + tracks[end:]
                if tracks[:2] == _CRC + b"\x84":
                    tracks = tracks[:2] + zlib.crc32(tracks[6:]).to_bytes(4, "little") + tracks[6:]
                return tracks
    return None


def _track_with_aspect(track: bytes, display: bytes) -> bytes | None:
    parts, named = [], False
    for name, start, end in _elements(track, 0, len(track)):
        part = track[start:end]
        if name == _NAME:
            named = part == PLACEHOLDER.encode()
            continue
        if name == _VIDEO:
            kept = [
                _element(inner, part[at:stop])
                for inner, at, stop in _elements(part, 0, len(part))
                if inner not in (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
            ]
            part = b"".join((*kept, display))
        parts.append(_element(name, part))
    new = b"".join(parts)
    room = len(track) - len(new) - 2
    return new + _element(_VOID, bytes(room)) if named and 0 <= room < 127 else None


def _display(size: tuple[int, int], ratio: Fraction) -> bytes:
    """The elements that say it: how many square pixels a frame is shown as, or, where they are no whole number, 4:3."""
    height, width = size
    if (width * ratio).denominator == 1:
        shown, unit = (int(width * ratio), height), b""
    else:
        shape = ratio * width / height
        shown, unit = (shape.numerator, shape.denominator), _element(_DISPLAY_UNIT, _IS_RATIO)
    sides = zip((_DISPLAY_WIDTH, _DISPLAY_HEIGHT), shown, strict=True)
    return b"".join(_element(name, side.to_bytes(4, "big")) for name, side in sides) + unit


def _element(name: bytes, content: bytes) -> bytes:
    width = next(width for width in range(1, 9) if len(content) < (1 << 7 * width) - 1)
    return name + (len(content) | 1 << 7 * width).to_bytes(width, "big") + content
