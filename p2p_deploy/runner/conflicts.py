"""What is in the way of outputs: inputs, and files that exist. Looked at a folder at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np

from p2p_deploy.errors import OutputError
from p2p_deploy.files import exists_already, is_a_folder
from p2p_deploy.runner import output_names
from p2p_deploy.runner.discovery import Folder, Pattern


def real(path: Path) -> Path:
    """Where a path leads; ``Path.resolve`` raises at a link that leads to itself."""
    return Path(os.path.realpath(path))


def inside(path: Path, folder: Path) -> PurePath | None:
    """``path`` as seen from ``folder``, or None when it lies outside."""
    return path.relative_to(folder) if path.is_relative_to(folder) else None


class ConflictCheck:
    """Holds the outputs of a tree against the inputs and against what is there already.

    Args:
        root: the folder that names start from.
        out: the output folder.
        pattern: which files below ``root`` are inputs.
        source: the pattern as it was given, or None for a folder, in which no output may lie.
        overwrite: existing files may be replaced.
        ext: see ``output_names.output_name``.
    """

    def __init__(self, root: Path, out: Path, pattern: Pattern, source: Path | None, overwrite: bool, ext: str) -> None:
        self.root, self.out, self.pattern, self.source = root, out, pattern, source
        self.overwrite, self.ext = overwrite, ext
        self._real_root = real(root)
        self._existing = 0
        self._first: Path | None = None

    def check(self, folder: Folder, entries: list[str]) -> None:
        """Look at the outputs of one folder.

        Raises:
            OutputError: one would lie among the inputs or replace its own, or a folder or file is in the way.
        """
        target = self.out / folder.relative
        self._refuse_inside(folder, entries, target)
        if folder.links:
            self._refuse_linked(folder, entries, target)
        for output in self._taken(target, entries):
            path = target / output
            if os.path.isdir(path):  # noqa: PTH112 - names may be too long for pathlib
                raise is_a_folder(path)
            if not self.overwrite and os.path.exists(path):  # noqa: PTH110
                self._first = self._first or path
                self._existing += 1

    def refuse_existing(self) -> None:
        """Raise OutputError when there were files in the way of outputs and they may not be replaced."""
        if self._first is not None:
            raise exists_already(self._first, self._existing)

    def _refuse_inside(self, folder: Folder, entries: list[str], target: Path) -> None:
        """No output may land in the input folder (as with OUT above IN and IN in itself), or match the pattern."""
        reached = inside(real(target), self._real_root)
        if reached is None:
            return
        states = self.pattern.start
        for part in reached.parts if self.source else ():
            states = self.pattern.below(states, part) if part[0] != "." else ()
        own = reached == PurePath(folder.relative)
        for name, output in self._outputs(entries):
            if self.source and not self.pattern.takes(states, output):
                continue
            if own and name == output:
                raise OutputError(f"{target / output} would replace its own input. Choose another output folder.")
            where = f"among the inputs {self.source}" if self.source else f"inside the input folder {self.root}"
            raise OutputError(f"{target / output} would lie {where}. Choose another output folder.")

    def _refuse_linked(self, folder: Folder, entries: list[str], target: Path) -> None:
        """An input that is a link may lead to its own output."""
        links, source, real_target = set(folder.links), self.root / folder.relative, real(target)
        for name, output in self._outputs(entries):
            if name in links:
                with contextlib.suppress(OSError):  # one of them is not there, or leads to itself
                    if not os.path.samestat(os.stat(source / name), os.lstat(target / output)):  # noqa: PTH116
                        continue
                    if real(source / name) == real_target / output:
                        raise OutputError(
                            f"{target / output} would replace its own input. Choose another output folder."
                        )

    def _taken(self, target: Path, entries: list[str]) -> Iterator[str]:
        """The outputs whose names, but for case, are in their folder already; only folders count when overwriting."""
        try:
            with os.scandir(target) as found:
                there = output_names.keys(
                    entry.name
                    for entry in found
                    if not self.overwrite or entry.is_symlink() or entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return
        except NotADirectoryError as exc:
            file = next(above for above in (target, *target.parents) if above.exists())
            if not file.is_relative_to(self.out):
                return  # the record will not find a folder to lie in
            raise OutputError(
                f"{file} is a file, and the outputs need a folder of that name. Choose another place."
            ) from exc
        if len(there):
            wanted = output_names.keys(output for _, output in self._outputs(entries))
            for index in np.flatnonzero(np.isin(wanted, there)):
                yield output_names.read_entry(entries[index], self.ext)[1]

    def _outputs(self, entries: list[str]) -> Iterator[tuple[str, str]]:
        return (output_names.read_entry(entry, self.ext)[:2] for entry in entries)
