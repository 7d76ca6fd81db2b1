"""How far a TensorRT builder is, and how it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

OnProgress = Callable[[str, int, int], None]


def progress_monitor(base: Any, on_progress: OnProgress) -> Any:
    """A monitor, made of a flavour's IProgressMonitor, that calls ``on_progress(phase, done, total)``.

    What ``on_progress`` raises stops the build at its next step and is kept in ``stopped``, because an exception does
    not travel through the builder: its bindings print it and go on.
    """

    class Monitor(base):  # type: ignore[misc]  # known when a flavour is imported
        def __init__(self) -> None:
            base.__init__(self)
            self.totals: dict[str, int] = {}
            self.stopped: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.totals[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return self.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            """Nothing to tell; the builder insists on the method."""

        def _tell(self, phase: str, done: int) -> None:
            if self.stopped is not None:
                return
            try:
                on_progress(phase, done, self.totals.get(phase, done))
            except BaseException as exc:  # raised again when the builder has returned
                self.stopped = exc

    return Monitor()


@contextlib.contextmanager
def stoppable(monitor: Any) -> Iterator[None]:
    """While the builder works, Ctrl-C stops it through ``monitor``; what stopped it is raised when the block ends.

    Python would raise KeyboardInterrupt where the builder calls into it, and the builder's bindings would swallow that.
    """
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, lambda *_: setattr(monitor, "stopped", KeyboardInterrupt()))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if monitor.stopped is not None:
        raise monitor.stopped
