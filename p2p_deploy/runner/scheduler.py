"""The scheduler: decode, fit, infer, restore, encode, with slots in a ring.

    source ─ decode ─► slot.input ─ submit, wait ─► slot.output ─ encode ─► sink
             threads                a thread a device             threads

One thread, the caller's, owns the order of things. All others take tasks from a queue and post what they have
finished to one inbox, which is all that it ever waits for, as something to call: a failure anywhere arrives there like
everything else, as a call that raises it, and nothing can wait for a thread that is gone. The number of slots bounds
memory and holds decoding back when encoding is slow.

Where all pictures get one size, each is decoded straight into its row of a slot. Where sizes differ, pictures are
decoded first and then put into batches of their size; when no slot is free, the oldest batch goes as it is.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from p2p_deploy.backends.base import Slot
from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.machine import available_cores
from p2p_deploy.media import FrameSource, ReadOptions, WriteOptions
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import tasks
from p2p_deploy.runner.device import Device
from p2p_deploy.runner.fitting import FitPlan, FitPlanner, Size
from p2p_deploy.runner.jobs import Job
from p2p_deploy.runner.summary import Execution
from p2p_deploy.runner.tasks import BatchRow, DecodedRow, IssuedItem
from p2p_deploy.runner.threads import DECODING, CodecThreads, Event, Inbox, Task, TaskGroup, Workers
from p2p_deploy.runner.tracker import InputState, Tracker
from p2p_deploy.runner.writer import Writer

# A stage that finishes nothing for so long hangs; computing a batch may take longer.
SILENCE_S = 300.0
SILENCE_COMPUTING_S = 3600.0
PATIENCE_S = 10.0  # for threads to end, once the run is over


@dataclass(slots=True, eq=False)
class _Batch:
    """A slot under way.

    Attributes:
        device: where it is computed.
        slot: its memory.
        target: how many rows it should get.
        rows: what its rows are.
        writing: the encoding of its rows.
    """

    device: Device
    slot: Slot
    target: int
    rows: list[BatchRow] = field(default_factory=list)
    writing: TaskGroup | None = None


class Scheduler:
    """One run: the slots and what is in them."""

    def __init__(
        self,
        jobs: Iterable[Job],
        devices: list[Device],
        planner: FitPlanner,
        tracker: Tracker,
        options: RunOptions,
        read: ReadOptions,
        write: WriteOptions,
        inbox: Inbox,
        cancel: threading.Event,
    ) -> None:
        self._interrupted = False  # by ``cancel``, before the last input
        self._devices, self._planner, self._tracker, self._options = devices, planner, tracker, options
        self._read, self._inbox, self._cancel = read, inbox, cancel
        self._spec = planner.spec
        self._one_plan = planner.same_for_all
        self._workers = options.workers or available_cores()
        self._codecs = CodecThreads(self._workers, inbox)
        self._writer = Writer(tracker, self._spec, write, inbox, self._codecs)
        self._work = self._issue(jobs)
        self._exhausted = False
        self._live: set[_Batch] = set()  # all batches under way
        self._filling: dict[Size, _Batch] = {}  # those that rows are still put into, the oldest first
        self._decoding = 0  # pictures that have no batch yet
        self._decoded: deque[list[DecodedRow]] = deque()  # those pictures that wait for a slot, each in its rows
        self._computing = 0  # batches

    def run(self, report: Callable[[], None]) -> Execution:
        """Do the jobs; ``report`` is called now and then. Raises what ended the run."""
        started = time.perf_counter()
        try:
            self._codecs.start()
            for device in self._devices:
                device.start(self._codecs)
            self._loop(report)
        finally:
            for device in self._devices:
                device.stop(PATIENCE_S)
            self._codecs.stop(PATIENCE_S)
            self._tidy()
        return Execution(
            interrupted=self._interrupted,
            seconds=time.perf_counter() - started,
            devices=tuple(device.model.device for device in self._devices),
            infer_seconds=tuple(round(device.busy, 3) for device in self._devices),
            batch=max(device.batch_size.now for device in self._devices),
            workers=self._workers,
            codec_seconds=self._codecs.seconds(),
        )

    def _loop(self, report: Callable[[], None]) -> None:
        while True:
            self._advance()
            if self._exhausted and not (self._live or self._decoding or self._decoded or self._writer.closing):
                break
            self._next_event()()
            while not self._inbox.empty():
                self._inbox.get()()
            report()
        report()

    def _next_event(self) -> Event:
        silence = SILENCE_COMPUTING_S if self._computing else SILENCE_S
        try:
            return self._inbox.get(timeout=silence)
        except Empty:
            waiting = sorted(str(state.job.source) for state in self._tracker.unfinished)[:3]
            raise Failed(
                f"Nothing was finished for {silence:.0f} s; under way are {', '.join(waiting)}. A disk or a device "
                "does not answer. Repair it and run again with `resume=True`."
            ) from None

    def _tidy(self) -> None:
        """After the threads have stopped: record what was completed meanwhile, remove what was not."""
        for batch in self._live:
            if batch.writing:
                self._writer.record_quietly(batch.rows, batch.writing.outcomes)
        self._writer.abandon()

    # -- from inputs to batches

    def _issue(self, jobs: Iterable[Job]) -> Iterator[IssuedItem]:
        """The items of all inputs in order; each input is opened when its turn comes."""
        for job in jobs:
            if self._told_to_stop():
                return
            state = self._tracker.start(job)
            try:
                source = tasks.open_input(job, self._spec, self._options.instances, self._read)
            except ItemFailed as exc:
                state.fail(str(exc))
                self._tracker.finish(state)
                continue
            self._tracker.opened(state, source)
            for item in source.items():
                if self._told_to_stop():
                    return
                if state.failed:
                    break
                state.issue()
                yield IssuedItem(state, source, item)
            state.end_listing()
            self._writer.finish_if_due(state)

    def _told_to_stop(self) -> bool:
        self._interrupted = self._cancel.is_set()
        return self._interrupted or (self._options.fail_fast and self._tracker.bad > 0)

    def _next_item(self) -> IssuedItem | None:
        issued = next(self._work, None)
        self._exhausted = self._exhausted or issued is None
        return issued

    def _decoders(self, source: FrameSource) -> Workers:
        return self._codecs.video_in if source.sequential else self._codecs.images

    def _advance(self) -> None:
        """Start whatever there is room for."""
        if self._one_plan is not None:
            while not self._exhausted and (batch := self._new_batch(self._one_plan.size)):
                self._fill(batch, self._one_plan)
            return
        while self._decoded and self._put_into_batches(self._decoded[0]):
            self._decoded.popleft()
        # As many as a batch has, so that pictures of one size find each other, and no more: they are whole pictures.
        ahead = self._workers + max(device.batch_size.now for device in self._devices)
        while not self._exhausted and self._decoding + len(self._decoded) < ahead:
            self._decode_next()
        if self._decoded and self._filling:
            self._compute(self._filling.pop(next(iter(self._filling))))
        elif self._exhausted and not self._decoding and not self._decoded:
            while self._filling:
                self._compute(self._filling.pop(next(iter(self._filling))))

    def _new_batch(self, size: Size) -> _Batch | None:
        """A batch on the device with the least to do."""
        for device in sorted(self._devices, key=lambda device: device.slots.load):
            slot = device.slots.take(size)
            if slot is not None:
                batch = _Batch(device, slot, min(slot.capacity, device.batch_size.now))
                self._live.add(batch)
                return batch
        return None

    def _fill(self, batch: _Batch, plan: FitPlan) -> None:
        """Start decoding the next items into the rows of a slot."""
        issued: list[IssuedItem] = []
        while len(issued) < batch.target and (item := self._next_item()):
            issued.append(item)
        if not issued:
            self._give_back(batch)
            return
        group = TaskGroup(len(issued), functools.partial(self._filled, batch, issued), self._inbox)
        for index, (item, arrays) in enumerate(zip(issued, zip(*batch.slot.inputs, strict=True), strict=False)):
            task = Task(group, index, DECODING, tasks.decode_into, (item, arrays, self._spec.input, plan))
            self._decoders(item.source).do(task)

    def _filled(self, batch: _Batch, issued: list[IssuedItem], outcomes: list[Any]) -> None:
        """Close the gaps that failed rows leave, and compute."""
        keep = [index for index, item in enumerate(issued) if self._usable(item.state, outcomes[index])]
        batch.rows = [outcomes[index] for index in keep]
        batch.slot.compact(keep)
        if keep:
            self._compute(batch)
        else:
            self._give_back(batch)

    def _usable(self, state: InputState, outcome: Any) -> bool:
        """Whether an item was decoded and its input has not failed; settles it where not."""
        if isinstance(outcome, ItemFailed):
            state.fail(str(outcome))
        if not isinstance(outcome, Exception) and not state.failed:
            return True
        self._writer.settle(state)
        return False

    def _decode_next(self) -> None:
        item = self._next_item()
        if item is None:
            return
        self._decoding += 1
        group = TaskGroup(1, functools.partial(self._take_decoded, item.state), self._inbox)
        task = Task(group, 0, DECODING, tasks.decode, (item, self._planner, self._spec.input))
        self._decoders(item.source).do(task)

    def _take_decoded(self, state: InputState, outcomes: list[Any]) -> None:
        self._decoding -= 1
        (rows,) = outcomes
        if self._usable(state, rows):
            state.issue(len(rows) - 1)
            self._decoded.append(rows)

    def _put_into_batches(self, rows: list[DecodedRow]) -> bool:
        """Put the rows of a picture into batches of their size; False when there is no slot for one of them."""
        while rows:
            row, arrays = rows[0]
            size = row.plan.size
            batch = self._filling.get(size) or self._new_batch(size)
            if batch is None:
                return False
            self._filling[size] = batch
            for target, array in zip(batch.slot.inputs, arrays, strict=True):
                target[len(batch.rows)] = array
            batch.rows.append(row)
            del rows[0]
            if len(batch.rows) == batch.target:
                self._compute(self._filling.pop(size))
        return True

    # -- from batches to outputs

    def _compute(self, batch: _Batch) -> None:
        batch.slot.count = len(batch.rows)
        self._computing += 1
        batch.device.compute(batch.slot, functools.partial(self._computed, batch))

    def _computed(self, batch: _Batch) -> None:
        self._computing -= 1
        batch.writing = TaskGroup(len(batch.rows), functools.partial(self._written, batch), self._inbox)
        self._writer.hand_out(batch.rows, batch.slot.output, batch.writing)

    def _written(self, batch: _Batch, outcomes: list[Any]) -> None:
        self._give_back(batch)
        self._writer.take_note(batch.rows, outcomes)

    def _give_back(self, batch: _Batch) -> None:
        self._live.discard(batch)
        batch.device.slots.give(batch.slot)
