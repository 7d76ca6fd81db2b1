"""``p2p-run.jsonl``, the record of a run: a JSON line for each input as it is finished, a summary at the end."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from p2p_deploy.errors import OutputError
from p2p_deploy.files import NO_WAITING, write_failure

RECORD_NAME = "p2p-run.jsonl"
# A line has two paths and a sentence or two; nothing that is longer was written by a run.
_LONGEST_LINE = 1 << 20


def stamp(path: Path) -> list[int] | None:
    """Size in bytes and time of change in nanoseconds, by which a file is known again; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - twice for every file of a run
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a record, without those that are longer than any that a run writes.

    Raises:
        OSError: the file is not there, cannot be read, or is none.
    """
    with open(os.open(path, os.O_RDONLY | NO_WAITING), "rb") as file:  # noqa: PTH123
        _require_file(file.fileno())
        while text := file.readline(_LONGEST_LINE):
            if len(text) == _LONGEST_LINE and text[-1:] != b"\n":
                while len(text) == _LONGEST_LINE and text[-1:] != b"\n":
                    text = file.readline(_LONGEST_LINE)
                continue
            yield text


def parsed(text: bytes) -> dict[str, Any]:
    """A line of a record; empty for one that was cut when its process was killed."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _require_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is no file, move it away")


class RunRecord:
    """An append-only record; a line is in the file whole or not at all.

    Args:
        path: the file to append to, or None to keep no record.

    Raises:
        OutputError: the folder cannot be made, or the file cannot be opened for writing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file: int | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_WAITING, 0o666)
                self._end_line()
            except OSError as exc:
                self.close()
                raise OutputError(f"{path} cannot be written: {exc.strerror}. Choose another output folder.") from exc

    def _end_line(self) -> None:
        """A process that was killed may have left half a line, to which nothing may be added."""
        assert self._file is not None
        _require_file(self._file)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add one line.

        Raises:
            Failed: the disk does not take it; what was written of the line is removed.
        """
        if self._file is None or self.path is None:
            return
        line = (json.dumps(entry) + "\n").encode()
        try:
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR) - written)
                raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as exc:
            raise write_failure(self.path, exc) from exc

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
