"""The threads of a run: they take tasks in order, and post to one inbox when everything of a group is done."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import cv2

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import EndOfStream

Task = Callable[..., Any]
_TURN_S = 0.0002
_NICE = 19  # the least on Linux: 1.5 % of a core that an equal wants too
DECODING, ENCODING = 0, 1  # which of a thread's clocks a task runs on
# What a task may raise that concerns its own input only.
OF_ONE_ITEM = (ItemFailed, EndOfStream)


class TaskGroup:
    """Tasks that are reported together, by whichever thread does the last of them.

    Attributes:
        outcomes: in the order of the tasks, what each returned, or the exception that concerns its input only; None
            before it is done.
        settled: whether all are done.
        then: what the main thread calls with this group.
    """

    __slots__ = ("_count", "_inbox", "outcomes", "settled", "then")

    def __init__(self, size: int, then: Callable[[TaskGroup], None], inbox: Inbox) -> None:
        self.outcomes: list[Any] = [None] * size
        self.settled = False
        self.then = then
        self._inbox = inbox
        self._count = itertools.count(1)  # whose next() is atomic, where += is not

    def settle(self, index: int, outcome: Any) -> None:
        """A task is done. From any thread."""
        self.outcomes[index] = outcome
        if next(self._count) == len(self.outcomes):
            self.settled = True
            self._inbox.put(self)


class WorkerCrash:
    """A stage or a device failed: the run is over."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


Inbox = SimpleQueue[Any]  # of TaskGroup, WorkerCrash, and what the main thread is to call


class Workers:
    """Threads that share one queue of tasks.

    They are daemons: one that hangs in a call to a disk that is gone keeps nobody from ending the process.

    Attributes:
        clocks: of each thread, the seconds it spent on decoding and on encoding; since it gives way, those in which it
            had a core.
    """

    def __init__(self, name: str, threads: int, inbox: Inbox) -> None:
        self._queue: SimpleQueue[tuple[TaskGroup, int, int, Task, tuple[Any, ...]] | None] = SimpleQueue()
        self._inbox = inbox
        self._stopping = False
        self._now = time.perf_counter
        self.clocks = [[0.0, 0.0] for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, group: TaskGroup, index: int, clock: int, task: Task, *arguments: Any) -> None:
        """Queue a task, whose outcome goes to ``group.outcomes[index]``."""
        self._queue.put((group, index, clock, task, arguments))

    def _work(self, number: int) -> None:
        clocks = self.clocks[number]
        while (item := self._queue.get()) is not None:
            if self._stopping:
                continue
            group, index, clock, task, arguments = item
            now = self._now
            started = now()
            try:
                outcome = task(*arguments)
            except OF_ONE_ITEM as exc:
                outcome = exc
            except BaseException as exc:
                self._inbox.put(WorkerCrash(exc))
                continue
            finally:
                clocks[clock] += now() - started
            group.settle(index, outcome)
            del item, group, arguments, outcome  # or an idle thread would keep a picture

    def give_way(self) -> None:
        """From now on leave the cores to the network's threads, for as long as those have something to compute.

        Side by side as equals, the network would wait in every layer for the one of its threads whose core a codec
        took. What an encoder starts from here on in threads of its own gives way as well. Only Linux has priorities
        for each thread; elsewhere all stay equal.
        """
        if sys.platform == "linux":
            self._now = time.thread_time
            for thread in self._threads:
                assert thread.native_id
                with contextlib.suppress(PermissionError):  # a sandbox may forbid it
                    os.setpriority(os.PRIO_PROCESS, thread.native_id, _NICE)

    def stop(self, patience_s: float) -> bool:
        """Finish what is under way and leave what is queued; False when a thread did not end in time."""
        self._stopping = True
        for _ in self._threads:
            self._queue.put(None)
        return join(self._threads, patience_s)


@contextlib.contextmanager
def taking_turns(*, opencv_alone: bool) -> Iterator[None]:
    """Set the interpreter and OpenCV up for codec threads on every core, for as long as a run lasts.

    Threads that come back from a codec go on soon while another one runs Python: by default they wait for up to 5 ms,
    which is longer than a small picture takes. And OpenCV divides no picture among threads of its own, unless
    ``opencv_alone`` says that it has the cores to itself.
    """
    turn, threads = sys.getswitchinterval(), cv2.getNumThreads()
    sys.setswitchinterval(min(turn, _TURN_S))
    cv2.setNumThreads(threads if opencv_alone else 1)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        cv2.setNumThreads(threads)


def join(threads: Sequence[threading.Thread], patience_s: float) -> bool:
    """Wait for threads to end, for no longer than that in all; whether they did."""
    end = time.perf_counter() + patience_s
    for thread in threads:
        thread.join(max(0.0, end - time.perf_counter()))
    return not any(thread.is_alive() for thread in threads)
