"""The threads of a run: they take tasks in order, and post to one inbox when everything of a group is done."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

import cv2

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import EndOfStream

Event = Callable[[], None]  # what a thread has to say, as something for the main thread to call
Inbox = SimpleQueue[Event]
_TURN_S = 0.0002
_NICE = 19  # the least on Linux: 1.5 % of a core that an equal wants too
_MUCH = 8  # times what codecs take: a network that does gets the cores before them
DECODING, ENCODING = 0, 1  # which of a thread's clocks a task runs on
# What a task may raise that concerns its own input only.
OF_ONE_ITEM = (ItemFailed, EndOfStream)


class TaskGroup:
    """Tasks that are reported together, by whichever thread does the last of them.

    Attributes:
        outcomes: in the order of the tasks, what each returned, or the exception that concerns its input only; None
            before it is done.
        complete: whether all are done.
    """

    __slots__ = ("_count", "_inbox", "_then", "complete", "outcomes")

    def __init__(self, size: int, then: Callable[[list[Any]], None], inbox: Inbox) -> None:
        """``then`` is what the main thread calls with the outcomes."""
        self.outcomes: list[Any] = [None] * size
        self.complete = False
        self._then = then
        self._inbox = inbox
        self._count = itertools.count(1)  # whose next() is atomic, where += is not

    def put(self, index: int, outcome: Any) -> None:
        """A task is done. From any thread."""
        self.outcomes[index] = outcome
        if next(self._count) == len(self.outcomes):
            self.complete = True
            self._inbox.put(functools.partial(self._then, self.outcomes))


def crash(error: BaseException) -> Event:
    """A stage or a device failed: the run is over."""

    def end() -> None:
        raise error

    return end


class Task(NamedTuple):
    """A call, whose outcome goes to ``group.outcomes[number]``, and whose time is counted on a clock."""

    group: TaskGroup
    number: int
    clock: int
    call: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


class Workers:
    """Threads that share one queue of tasks.

    They are daemons: one that hangs in a call to a disk that is gone keeps nobody from ending the process.

    Attributes:
        clocks: of each thread, the seconds it spent on decoding and on encoding; since it gives way, those in which it
            had a core.
    """

    def __init__(self, name: str, threads: int, inbox: Inbox) -> None:
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._inbox = inbox
        self._stopping = False
        self._now = time.perf_counter
        self.clocks = [[0.0, 0.0] for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(clocks,), name=f"{name}-{number}", daemon=True)
            for number, clocks in enumerate(self.clocks)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def do(self, task: Task) -> None:
        """Queue a task."""
        self._queue.put(task)

    def _work(self, clocks: list[float]) -> None:
        while (task := self._queue.get()) is not None:
            if self._stopping:
                continue
            now = self._now
            started = now()
            try:
                outcome = task.call(*task.arguments)
            except OF_ONE_ITEM as exc:
                outcome = exc
            except BaseException as exc:
                self._inbox.put(crash(exc))
                continue
            finally:
                clocks[task.clock] += now() - started
            task.group.put(task.number, outcome)
            del task, outcome  # or an idle thread would keep a picture

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


class CodecThreads:
    """All threads that decode and encode: a pool for images, one each way for videos, whose frames have an order."""

    def __init__(self, workers: int, inbox: Inbox) -> None:
        self.images = Workers("codec", workers, inbox)
        self.video_in = Workers("decode-video", 1, inbox)
        self.video_out = Workers("encode-video", 1, inbox)
        self._all = {"images": self.images, "video in": self.video_in, "video out": self.video_out}
        self._first = True

    def start(self) -> None:
        """Begin to work."""
        for threads in self._all.values():
            threads.start()

    def give_way(self, busy_s: float) -> None:
        """Give way from now on to a network that has computed for ``busy_s`` seconds, if it proves slow beside them."""
        if self._first and busy_s > _MUCH * sum(sum(clock) for each in self._all.values() for clock in each.clocks):
            self._first = False
            for threads in self._all.values():
                threads.give_way()

    def seconds(self) -> dict[str, dict[str, float]]:
        """What each kind has spent on decoding and on encoding."""
        return {
            name: {
                "decode": round(sum(clock[DECODING] for clock in threads.clocks), 3),
                "encode": round(sum(clock[ENCODING] for clock in threads.clocks), 3),
            }
            for name, threads in self._all.items()
        }

    def stop(self, patience_s: float) -> None:
        """Finish what is under way and leave what is queued; wait for each kind no longer than that."""
        for threads in (self.video_in, self.images, self.video_out):
            threads.stop(patience_s)


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
        if thread.ident:  # it was started
            thread.join(max(0.0, end - time.perf_counter()))
    return not any(thread.is_alive() for thread in threads)
