"""Walking a tree of inputs folder by folder: no more names are held at once than one folder has."""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from p2p_deploy.errors import InputError
from p2p_deploy.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES

MEDIA_SUFFIXES = frozenset(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
_MAGIC = re.compile(r"[*?\[]")

States = tuple[int, ...]


def suffix_of(name: str) -> str:
    """The suffix of a file name that is not hidden, in lower case; for a name without one, anything that is none."""
    return name[name.rfind(".") :].lower()


def join(relative: str, name: str) -> str:
    """Two relative names as one, with forward slashes."""
    return f"{relative}/{name}" if relative else name


class Pattern:
    """Which files below a folder are meant: a pattern for each part of their names.

    It is followed downwards through a tree as a set of positions, each an index of the part that comes next.

    Args:
        parts: as ``fnmatch`` knows them; ``**`` is any number of folders, at the end also any file in them.
    """

    def __init__(self, *parts: str) -> None:
        self._parts = [None if part == "**" else re.compile(_regex(part)).match for part in parts]
        self._last = len(parts) - 1
        self._takes_all = [part in ("*", "**") for part in parts]
        self.start = self._closed({0})

    def takes(self, states: States, name: str) -> bool:
        """Whether a file of this name, in a folder that was reached with ``states``, is meant."""
        if self._last not in states:
            return False
        match = self._parts[self._last]
        return self._takes_all[self._last] or match is None or match(os.path.normcase(name)) is not None

    def below(self, states: States, name: str) -> States:
        """The states for a sub-folder of this name; none at all when nothing in it can be meant."""
        following = set()
        for state in states:
            match = self._parts[state]
            if match is None:
                following.add(state)
            elif state < self._last and match(os.path.normcase(name)):
                following.add(state + 1)
        return self._closed(following)

    def _closed(self, states: set[int]) -> States:
        """With the positions that are reached when ``**`` stands for no folder at all."""
        for state in sorted(states):
            while self._parts[state] is None and state < self._last:
                state += 1
                states.add(state)
        return tuple(sorted(states))


def _regex(part: str) -> str:
    return fnmatch.translate(os.path.normcase(part))


def split_pattern(source: Path) -> tuple[Path, Pattern] | None:
    """The folder that a pattern such as ``photos/**/*.jpg`` starts from, and the rest; None when it is no pattern.

    Parts that exist under just that name stand for themselves.
    """
    root = Path(source.anchor)
    parts = source.parts[1:] if source.anchor else source.parts
    for index, part in enumerate(parts):
        if _MAGIC.search(part) and not os.path.lexists(root / part):
            return root, Pattern(*parts[index:])
        root /= part
    return None


@dataclass(slots=True)
class Folder:
    """What is meant of one folder.

    Attributes:
        relative: its path below the root, with forward slashes; empty for the root.
        states: with which positions of the pattern it was reached.
        files: names of images and videos, sorted.
        links: those of them that are symbolic links.
        folders: names of the sub-folders to descend into, sorted.
        ignored: how many files are of other kinds.
        passed_over: how many sub-folders there are besides.
    """

    relative: str
    states: States
    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: int = 0
    passed_over: int = 0


def walk(root: Path, pattern: Pattern) -> Iterator[list[Folder]]:
    """Every folder that the pattern leads to: its files first, then its sub-folders, by name.

    Folders whose paths differ in case only come together, since on some file systems their outputs will be in one.
    Hidden files and folders are left alone, and symbolic links to folders are not followed.

    Raises:
        InputError: a folder cannot be listed.
    """
    waiting = [iter([[("", pattern.start)]])]
    while waiting:
        reached = next(waiting[-1], None)
        if reached is None:
            waiting.pop()
            continue
        group = [_list(root, relative, states, pattern) for relative, states in reached]
        waiting.append(_below(group, pattern))
        yield group


def _below(group: list[Folder], pattern: Pattern) -> Iterator[list[tuple[str, States]]]:
    """Paths and states of the sub-folders of a group, those that differ in case only at once."""
    folders = [(name, folder.relative, folder.states) for folder in group for name in folder.folders]
    folders.sort(key=_folded)
    return (
        [(join(above, name), pattern.below(states, name)) for name, above, states in same]
        for _, same in itertools.groupby(folders, _folded)
    )


def _folded(folder: tuple[str, str, States]) -> str:
    return folder[0].casefold()


def _list(root: Path, relative: str, states: States, pattern: Pattern) -> Folder:
    found = Folder(relative, states)
    path = os.path.join(root, relative)  # noqa: PTH118 - str: there may be a million
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name[0] != ".":
                    _sort_in(entry, found, pattern)
    except FileNotFoundError as exc:
        if not relative:  # a sub-folder has gone since its name was read
            raise InputError(f"{exc.filename} cannot be listed: {exc.strerror}.") from exc
    except OSError as exc:
        raise InputError(f"{exc.filename} cannot be listed: {exc.strerror}.") from exc
    found.files.sort()
    found.folders.sort()
    return found


def _sort_in(entry: os.DirEntry[str], found: Folder, pattern: Pattern) -> None:
    """Note what an entry of a folder is; a plain file costs no system call."""
    name, link = entry.name, entry.is_symlink()
    if os.path.isdir(entry.path) if link else entry.is_dir(follow_symlinks=False):  # noqa: PTH112 - links may be loops
        if not link and pattern.below(found.states, name):
            found.folders.append(name)
        else:
            found.passed_over += 1
    elif not pattern.takes(found.states, name):
        return
    elif suffix_of(name) not in MEDIA_SUFFIXES:
        found.ignored += 1
    elif not link and entry.is_file(follow_symlinks=False):
        found.files.append(name)
    elif link and (os.path.isfile(entry.path) or not os.path.exists(entry.path)):  # noqa: PTH110, PTH113
        found.files.append(name)  # a dangling link is an input that fails; a pipe or a socket is none
        found.links.append(name)
    else:
        found.ignored += 1
