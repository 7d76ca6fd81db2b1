"""What an earlier run has done already: read from its record, and believed where the disk agrees."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from p2p_deploy.errors import OutputError
from p2p_deploy.jobs import Job, JobList
from p2p_deploy.manifest import RECORD_NAME, stamp

_TEMPORARY = re.compile(r"\..*\.(\d{1,10})-\d{1,10}\.part(\.\w{1,5})?")


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
    last: dict[str, dict[str, Any]] = {}
    for line in _lines(jobs.folder / RECORD_NAME):
        if isinstance(line.get("input"), str):
            last[line["input"]] = line
    left = tuple(job for job in jobs.jobs if not _is_done(job, last.get(job.name), model, stamps))
    return replace(jobs, jobs=left, skipped=len(jobs.jobs) - len(left))


def _is_done(job: Job, line: dict[str, Any] | None, model: str, stamps: Callable[[Job], Any]) -> bool:
    return (
        line is not None
        and line.get("status") == "done"
        and line.get("model") == model
        and line.get("output") == str(job.output)
        and line.get("input_stamp") == stamps(job)
        and line.get("output_stamp") == stamp(job.output) is not None
    )


def _lines(record: Path) -> Iterator[dict[str, Any]]:
    """Every line that is one; the last one may have been cut when its process was killed."""
    try:
        with record.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                with contextlib.suppress(ValueError, RecursionError):
                    line = json.loads(text)
                    if isinstance(line, dict):
                        yield line
    except FileNotFoundError:
        return
    except OSError as exc:
        raise OutputError(f"{record} cannot be read: {exc.strerror or exc}. Run with --overwrite instead.") from exc


def remove_leftovers(jobs: JobList) -> None:
    """Remove what processes that are gone left under temporary names in the folders that outputs go to."""
    for folder in {job.output.parent for job in jobs.jobs}:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
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
