"""The one log that a TensorRT keeps for the whole process: it ignores every later one."""

from __future__ import annotations

import functools
from typing import Any

KEPT = 1000  # a run of days must not collect the same warning for ever
# Without a driver every complaint is followed by one about the driver, which explains nothing.
_ECHO = "catchCudaError"


@functools.cache
def log_of(base: Any) -> Any:
    """The log of ``base``, which is a flavour's ILogger; builder and runtime share it.

    ``messages`` has (severity, text) of every warning and error since it was last cleared.
    """

    class Log(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.messages: list[tuple[int, str]] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= base.Severity.WARNING:
                self.messages.append((int(severity), message.strip()))
                del self.messages[:-KEPT]

        def warnings(self) -> list[str]:
            return list(dict.fromkeys(message for _, message in self.messages))

        def reason(self) -> str:
            """The first error, since those after it are consequences; else the first warning."""

            def rank(entry: tuple[int, str]) -> tuple[bool, bool]:
                return entry[0] > int(base.Severity.ERROR), _ECHO in entry[1]

            return min(self.messages, key=rank, default=(0, "it gave no reason"))[1]

    return Log()
