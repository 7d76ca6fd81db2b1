"""The one log that a TensorRT keeps for the whole process: it ignores every later one."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

KEPT = 1000  # a run of days must not collect the same warning for ever
# Without a driver every complaint is followed by one about the driver, which explains nothing.
_ECHO = "catchCudaError"
# What TensorRT says of the GPU and its memory; "cuda" alone is also in the names of its functions.
_GPU_FAILED = re.compile(
    r"out ?of ?memory|memory .*could not be allocated|cuda (runtime|driver) \(|cudaError[A-Z]", re.I
)


class Entry(NamedTuple):
    """One warning or error, and its place among all that were ever said."""

    serial: int
    is_error: bool
    text: str


@dataclass(frozen=True)
class Excerpt:
    """What a log is told from a moment on, until it is read; taken before a call, it has what that call gave rise to.

    Other threads write to the same log, so what they say meanwhile is in it too.
    """

    log: Any
    first: int

    def entries(self) -> list[Entry]:
        """Warnings and errors, in order."""
        return [entry for entry in list(self.log.entries) if entry.serial >= self.first]

    def warnings(self) -> list[str]:
        """Each text once, in order."""
        return list(dict.fromkeys(entry.text for entry in self.entries()))

    def reason(self) -> str:
        """The first error, since those after it are consequences; else the first warning."""
        ranked = sorted(self.entries(), key=lambda entry: (not entry.is_error, _ECHO in entry.text))
        return ranked[0].text if ranked else "it gave no reason"

    def blames_the_gpu(self) -> bool:
        """Whether memory or CUDA failed, which says nothing against what TensorRT was given."""
        return any(_GPU_FAILED.search(entry.text) for entry in self.entries())

    def forget(self) -> None:
        """Remove it from the log."""
        self.log.entries[:] = [entry for entry in self.log.entries if entry.serial < self.first]


@functools.cache
def log_of(base: Any) -> Any:
    """The log of ``base``, which is a flavour's ILogger; builder and runtime share it.

    ``entries`` has the latest warnings and errors, ``from_now()`` gives an ``Excerpt`` of those that come next.
    """

    class Log(base):  # type: ignore[misc]  # known when a flavour is imported
        def __init__(self) -> None:
            base.__init__(self)
            self.entries: list[Entry] = []
            self._serials = itertools.count()

        def log(self, severity: Any, message: str) -> None:
            if severity <= base.Severity.WARNING:
                is_error = severity <= base.Severity.ERROR
                self.entries.append(Entry(next(self._serials), is_error, message.strip()))
                del self.entries[:-KEPT]

        def from_now(self) -> Excerpt:
            return Excerpt(self, next(self._serials))

    return Log()
