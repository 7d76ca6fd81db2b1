"""Whether a video file is as long as its own headers say; nothing here loads FFmpeg, which does not tell."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import BinaryIO

_EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES = frozenset(
    (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"free", b"skip", b"wide", b"uuid", b"meta")
)


_Y4M = b"YUV4MPEG2 "
# By how much chroma is smaller, down and across, by the colour space of a Y4M header.
_CHROMA = {"420": (2, 2), "411": (1, 4), "422": (1, 2), "444": (1, 1), "mono": None}


def missing_bytes(path: Path) -> int:
    """How far the last part of an MP4, MOV, Matroska or Y4M file reaches beyond its end; 0 for other files."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        head = file.read(4096)
        if head.startswith(_EBML):
            end = _segment_end(head[len(_EBML) :])
        elif head.startswith(_Y4M):
            end = _last_frame_end(head, length)
        else:
            end = _boxes_end(file, length)
    return max(0, end - length)


def _last_frame_end(head: bytes, length: int) -> int:
    """Where the last frame of a Y4M file ends: all are equally long, unless they have parameters of their own."""
    header, newline, frames = head.partition(b"\n")
    marks = {field[:1]: field[1:] for field in header.decode("latin-1").split(" ")[1:]}
    colours = marks.get("C", "420")
    family = next((name for name in _CHROMA if colours.startswith(name)), None)
    sides = [int(marks[side]) if marks.get(side, "").isdecimal() else 0 for side in "HW"]
    if family is None or "alpha" in colours or not newline or not frames.startswith(b"FRAME\n"):
        return 0
    samples = sides[0] * sides[1]
    steps = _CHROMA[family]
    if steps is not None:
        samples += 2 * math.prod(-(-side // step) for side, step in zip(sides, steps, strict=True))
    depth = 2 if re.search(r"(p|mono)(9|1[0-6])", colours) else 1
    frame = len(b"FRAME\n") + depth * samples
    start = len(header) + len(newline)
    return start + -(-(length - start) // frame) * frame


def _boxes_end(file: BinaryIO, length: int) -> int:
    """Where the last box ends that is known by its name."""
    end = 0
    while end < length:
        file.seek(end)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if header[4:8] not in _BOXES or size < 8:  # 0: as far as the file goes
            break
        end += size
    return end


def _segment_end(head: bytes) -> int:
    """Where the segment ends that follows the EBML header, of which ``head`` lacks the first 4 bytes."""
    header_size, at = variable_size(head, 0)
    at += header_size or 0
    if head[at : at + 4] != SEGMENT:
        return 0
    size, at = variable_size(head, at + 4)
    return 0 if size is None else len(_EBML) + at + size


def variable_size(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML size, None for one left open, and the place after it. Its width is in its leading zero bits."""
    width = 9 - int.from_bytes(data[at : at + 1], "big").bit_length()
    ones = (1 << 7 * width) - 1
    size = int.from_bytes(data[at : at + width], "big") & ones
    return None if size == ones else size, at + width
