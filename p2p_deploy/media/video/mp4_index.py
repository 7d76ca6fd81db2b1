"""How long the index of an MP4 or MOV file says that it is, read before FFmpeg believes it; FFmpeg is not loaded here.

A table in which all samples have one size takes twenty bytes for any number of them, and FFmpeg 80 bytes for each. So a
file of a few kilobytes can fill any memory, and no option of FFmpeg keeps it from that.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

MOST_SAMPLES = 1 << 24  # of all tracks: 24 hours of 60 frames a second and their sound are half of that
_SAMPLES_PER_ENTRY = 1024  # of sound that is not compressed, FFmpeg takes so many together
_PASSED_OVER = frozenset((b"mdat", b"free", b"skip"))  # what FFmpeg does not look into
_MOST_BYTES = 1 << 27  # of an index
_TABLE = re.compile(rb"trak|hdlr|stts|stsz|stz2|stsc|stco|co64|elst|trun")


def announced_samples(path: Path) -> int:
    """How many samples the tracks and fragments of a file have, by its tables; 0 for files of other kinds.

    Tables are known by their names, wherever they stand, as FFmpeg takes them anywhere.

    Raises:
        OSError: it cannot be read.
    """
    total = 0
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        start = 0
        while start + 8 <= length:
            file.seek(start)
            head = file.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            if size == 0:
                size = length - start
            if size < 8 or not kind.strip().isalnum():  # another format, or damage; FFmpeg goes no further either
                break
            if kind not in _PASSED_OVER:
                file.seek(start)
                total += _samples_of(file.read(min(size, _MOST_BYTES)))
            start += size
    return total


def _samples_of(data: bytes) -> int:
    """The samples of all tables in a stretch of a file."""
    total = 0
    track = _Track()
    for found in _TABLE.finditer(data):
        name, at = found[0], found.end()

        def number(place: int, at: int = at) -> int:
            return int.from_bytes(data[at + place : at + place + 4], "big")

        if name == b"trak":
            total += track.samples
            track = _Track()
        elif name == b"trun":
            total += number(4)
        elif name == b"hdlr":
            track.sound |= data[at + 8 : at + 12] == b"soun"
            track.pictures |= data[at + 8 : at + 12] == b"vide"
        elif name == b"stts":
            track.raw = track.raw is not False and (number(4), number(12)) == (1, 1)
        elif name == b"stsc":
            room = max(0, len(data) - at - 8) // 12
            track.runs = np.frombuffer(data, ">u4", 3 * min(number(4), room), at + 8 if room else 0).reshape(-1, 3)
        elif name in (b"stsz", b"stz2"):
            track.listed += number(8)
        elif name == b"elst":
            track.edits = max(track.edits, number(4))
        else:
            track.chunks += number(4)
    return total + track.samples


class _Track:
    """What the tables of one track say."""

    def __init__(self) -> None:
        self.listed = self.chunks = 0
        self.runs = np.empty((0, 3), ">u4")  # from which chunk on there are how many samples in each
        self.edits = 1
        self.sound = self.pictures = False
        self.raw: bool | None = None  # all samples are shown for one unit of time; None is not said

    @property
    def samples(self) -> int:
        """The entries that FFmpeg makes of it. Each edit may show all of them again."""
        if self.sound and self.raw and not self.pictures:
            first, count = self.runs[:, 0].astype(np.int64), self.runs[:, 1].astype(np.int64)
            chunks = np.diff(first, append=self.chunks + 1).clip(0)
            return self.edits * int((chunks * -(-count // _SAMPLES_PER_ENTRY)).sum(dtype=np.float64))
        return self.edits * self.listed
