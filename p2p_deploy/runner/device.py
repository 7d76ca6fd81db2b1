"""Where batches are computed: for each model that was opened, a thread, its slots and its batch size."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import NamedTuple

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.runner.batch_size import BatchSize
from p2p_deploy.runner.fitting import FitPlanner
from p2p_deploy.runner.memory_fallback import MemoryFallback
from p2p_deploy.runner.slots import SlotPool
from p2p_deploy.runner.threads import CodecThreads, Event, Inbox, crash, join


class _InFlight(NamedTuple):
    """A batch that the model is computing, or has computed already, and what is posted when it is done."""

    slot: Slot
    then: Event
    done: bool
    started: float


class Device:
    """A model and the thread that computes with it.

    Attributes:
        model: what is computed with.
        batch_size: how many images a slot should get.
        slots: the memory of its batches.
        busy: seconds spent computing.
    """

    def __init__(self, model: Model, batch: int | None, planner: FitPlanner, inbox: Inbox) -> None:
        """Allocate what can be before the first picture is read.

        Raises:
            Failed: there is not enough memory, or the model does not take such batches.
        """
        self.model = model
        self.batch_size = BatchSize(batch)
        self.slots = SlotPool(model, self.batch_size, planner.same_for_all.size if planner.same_for_all else None)
        self.busy = 0.0
        self._fallback = MemoryFallback(model, self.batch_size, planner)
        self._inbox = inbox
        self._queue: SimpleQueue[tuple[Slot, Event] | None] = SimpleQueue()
        self._stopping = False
        self._codecs: CodecThreads | None = None
        self._thread = threading.Thread(target=self._serve, name=f"infer-{model.device}", daemon=True)

    def start(self, codecs: CodecThreads) -> None:
        """Begin to compute; on a CPU ``codecs`` give way once the network proves slow."""
        self._codecs = codecs if self.model.device == "cpu" else None
        self._thread.start()

    def compute(self, slot: Slot, then: Event) -> None:
        """Queue a batch; ``then`` is posted to the inbox when its output is valid."""
        self._queue.put((slot, then))

    def stop(self, patience_s: float) -> None:
        """Finish what is under way and leave what is queued; wait for no longer than that."""
        self._stopping = True
        self._queue.put(None)
        join([self._thread], patience_s)

    def _serve(self) -> None:
        """Keep as many batches in flight as the runtime takes, and finish them in order."""
        in_flight: deque[_InFlight] = deque()
        now, ended = time.perf_counter, 0.0
        try:
            while True:
                if in_flight and (len(in_flight) >= self.model.in_flight or self._queue.empty()):
                    batch = in_flight.popleft()
                    if not batch.done:
                        self._fallback.wait(batch.slot)
                    started, ended = max(batch.started, ended), now()
                    self.busy += ended - started
                    self.batch_size.learn(batch.slot.count, ended - started)
                    if self._codecs:
                        self._codecs.give_way(self.busy)
                    self._inbox.put(batch.then)
                    continue
                item = self._queue.get()
                if item is None:
                    return
                slot, then = item
                if not self._stopping:
                    started = now()
                    in_flight.append(_InFlight(slot, then, self._fallback.submit(slot), started))
        except BaseException as exc:
            self._inbox.put(crash(exc))
        finally:
            for batch in in_flight:  # memory that the device may still write to
                with contextlib.suppress(Exception):  # the failure that ended the run is the one that is told
                    self.model.wait(batch.slot)
