"""How the outputs of one folder are named, and in what form the names of a whole run are kept."""

from __future__ import annotations

import functools
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from p2p_deploy.media import VIDEO_SUFFIXES, output_suffix
from p2p_deploy.media.image import files
from p2p_deploy.runner.discovery import suffix_of

# What images can be written as; some formats are only read.
WRITTEN_SUFFIXES = frozenset(files.WRITTEN_SUFFIXES)
_CHUNK = 1024

Keys = NDArray[np.int64]


def output_name(name: str, ext: str) -> str:
    """What becomes of a file: images get the suffix of ``ext``, or keep theirs; videos have their own.

    Args:
        name: of the input, with a suffix that is known.
        ext: a suffix without its dot, or ``same``: the image's own, and png where that is only read.
    """
    stem, dot, suffix = name.rpartition(".")
    return stem + _output_suffix(dot + suffix, ext)


@functools.lru_cache(1024)
def _output_suffix(suffix: str, ext: str) -> str:
    if suffix.lower() in VIDEO_SUFFIXES:
        return output_suffix(suffix)
    if ext == "same":
        return suffix if suffix.lower() in WRITTEN_SUFFIXES else ".png"
    return f".{ext}"


def key(name: str) -> int:
    """A name compared without case, because some file systems do, as one number that is good for this process."""
    return hash(name.casefold())


def keys(names: Iterable[str]) -> Keys:
    """The key of each name."""
    return np.fromiter(map(key, names), np.int64)


def entry(name: str, output: str = "", note: str = "") -> str:
    """One file as one string: its name, and what differs from the rule; no name has a slash."""
    return f"{name}/{output}/{note}" if output else name


def read_entry(found: str, ext: str) -> tuple[str, str, str | None]:
    """Name, name of the output, and why that is another one than the rule gives."""
    name, _, rest = found.partition("/")
    output, _, note = rest.partition("/")
    return name, output or output_name(name, ext), note or None


def name_outputs(files: list[str], folders: Iterable[str], ext: str) -> list[str]:
    """Name the outputs of one folder: no two are the same, and none is named as a sub-folder.

    Where two would be (a.jpg, a.bmp), each keeps its suffix (a.jpg.png, a.bmp.png), and what still collides gets a
    number.

    Args:
        files: names of inputs.
        folders: names of sub-folders that the folder of the outputs will have too.
        ext: see ``output_name``.

    Returns:
        The entry of each file.
    """
    names = {key(folder): folder for folder in folders}
    claims = np.concatenate([keys(output_name(name, ext) for name in files), np.fromiter(names, np.int64, len(names))])
    order = np.argsort(claims, kind="stable")
    same = claims[order[1:]] == claims[order[:-1]]
    if not same.any():
        return files
    rivals = np.full(len(claims), -1)
    rivals[order[1:][same]] = order[:-1][same]
    rivals[order[:-1][same]] = order[1:][same]
    return _give_way(files, list(names.values()), ext, rivals, _Taken(claims, order, rivals, len(files)))


class _Taken:
    """The names that are not free: of sub-folders, of outputs without a rival, and what has been given since."""

    def __init__(self, claims: Keys, order: Keys, rivals: Keys, files: int) -> None:
        self._claims, self._order, self._rivals, self._files = claims[order], order, rivals, files
        self._given: set[int] = set()
        self._numbers: dict[int, int] = {}

    def _has(self, name: str) -> bool:
        wanted = key(name)
        at = int(np.searchsorted(self._claims, wanted, "right")) - 1
        if at >= 0 and self._claims[at] == wanted:
            owner = self._order[at]  # the last one, which is the folder if there is one
            if owner >= self._files or self._rivals[owner] < 0:
                return True
        return wanted in self._given

    def give(self, stem: str, suffix: str) -> str:
        """A free name with that stem, numbered if need be."""
        name, asked = stem + suffix, key(stem + suffix)
        if self._has(name):
            for number in itertools.count(self._numbers.get(asked, 2)):
                name = f"{stem}-{number}{suffix}"
                if not self._has(name):
                    self._numbers[asked] = number + 1
                    break
        self._given.add(key(name))
        return name


def _give_way(files: list[str], folders: list[str], ext: str, rivals: Keys, taken: _Taken) -> list[str]:
    entries = list(files)
    for index in np.flatnonzero(rivals[: len(files)] >= 0):
        rival = rivals[index]
        wanted = output_name(files[index], ext)
        output = taken.give(files[index], wanted[wanted.rfind(".") :])
        if rival < len(files):
            note = f"named {output}, because {files[rival]} has the same name without suffix"
        else:
            note = f"named {output}, because a folder is called {folders[rival - len(files)]}"
        entries[index] = entry(files[index], output, note)
    return entries


def pack(entries: Iterable[str]) -> tuple[bytes, ...]:
    """Entries in a few bytes each."""
    chunks = iter(entries)
    parts = iter(lambda: list(itertools.islice(chunks, _CHUNK)), [])
    return tuple(zlib.compress(os.fsencode("\0".join(part)), 1) for part in parts)


def unpack(packed: tuple[bytes, ...]) -> Iterator[str]:
    """What was packed."""
    for part in packed:
        yield from os.fsdecode(zlib.decompress(part)).split("\0")


def is_still(name: str) -> bool:
    """Whether a file is an image; what is not is a video."""
    return suffix_of(name) not in VIDEO_SUFFIXES
