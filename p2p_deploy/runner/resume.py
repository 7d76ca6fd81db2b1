"""What an earlier run has done already: read from its record, and believed where the disk agrees."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.errors import OutputError
from p2p_deploy.runner.jobs import Job, JobList
from p2p_deploy.runner.record import RECORD_NAME, parsed, read_lines, stamp

_TEMPORARY = re.compile(r"\..*\.(\d{1,10})-\d{1,10}\.part(\.\w{1,5})?", re.DOTALL)
_ROW = struct.Struct("<q16s")


def without_what_is_done(jobs: JobList, model: str, stamps: Callable[[Job], Any]) -> JobList:
    """Leave out the inputs whose outputs are there, complete, and made by this model from these very inputs.

    The last line of the record about an input counts. It has the size and the time of change of input and output, and
    which model made it; where any of these differs, or the output is gone or partial, the input is done again.

    Args:
        jobs: what is to be done.
        model: fingerprint of the model's file.
        stamps: by what the files of an input are known again.

    Raises:
        OutputError: the record cannot be read.
    """
    if jobs.folder is None:
        return jobs
    last = _LastLines(jobs.folder / RECORD_NAME, model)
    return jobs.without(lambda job: last.say_done(job, stamps))


class _LastLines:
    """The last line of a record about each input, in 40 bytes: which input, and a digest of all that has to agree."""

    def __init__(self, record: Path, model: str) -> None:
        self._model = model
        rows = bytearray()
        try:
            for line in map(parsed, read_lines(record)):
                name, state = line.get("input"), b""
                if not isinstance(name, str):
                    continue
                if line.get("status") == "done" and line.get("model") == model:
                    with contextlib.suppress(RecursionError):
                        state = self._state(name, line.get("output"), line.get("input_stamp"), line.get("output_stamp"))
                rows += _ROW.pack(hash(name), state)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise OutputError(
                f"{record} cannot be read: {exc.strerror or exc}. Run with `overwrite=True` instead."
            ) from exc
        table = np.frombuffer(rows, np.dtype([("name", "<i8"), ("state", "V16")]))
        order = np.argsort(table["name"], kind="stable")
        self._names, self._states = table["name"][order], table["state"][order]

    def say_done(self, job: Job, stamps: Callable[[Job], Any]) -> bool:
        """Whether the line about this job says that it is done, of the files that are there now."""
        name = hash(job.name)
        at = int(self._names.searchsorted(name, "right")) - 1
        if at < 0 or self._names[at] != name or not any(self._states[at].tobytes()):
            return False
        output = stamp(job.output)
        return output is not None and self._states[at].tobytes() == self._state(
            job.name, str(job.output), stamps(job), output
        )

    def _state(self, *values: Any) -> bytes:
        return hashlib.blake2b(ascii((self._model, *values)).encode(), digest_size=16).digest()


def remove_leftovers(jobs: JobList) -> None:
    """Remove what processes that are gone left under temporary names in the folders that outputs go to."""
    for folder in jobs.folders():
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                found = _TEMPORARY.fullmatch(entry.name)
                if found and entry.is_file(follow_symlinks=False) and not _is_alive(int(found[1])):
                    Path(entry.path).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True
