"""The loop: decode, fit, infer, restore, encode, with slots in a ring.

    source ─ decode ─► slot.input ─ submit, wait ─► slot.output ─ encode ─► sink
             threads                a thread a device             threads

One thread, the caller's, owns the order of things. All others take tasks from a queue and post what they have
finished to one inbox, which is all that it ever waits for: a failure anywhere arrives there like everything else, and
nothing can wait for a thread that is gone. The number of slots bounds memory and holds decoding back when encoding is
slow.

Where all pictures get one size, each is decoded straight into its row of a slot. Where sizes differ, pictures are
decoded first and placed in batches of their size; when no slot is free, the oldest batch goes as it is.

Images are decoded and encoded on one pool; the frames of a video on one thread each way, in order.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from p2p_deploy.backends.base import Slot
from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.machine import available_cores
from p2p_deploy.media import FrameSource, Item, ReadOptions, WriteOptions
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import tasks
from p2p_deploy.runner.device import Device
from p2p_deploy.runner.jobs import Job
from p2p_deploy.runner.summary import RunSummary
from p2p_deploy.runner.tasks import BatchRow, DecodedPicture
from p2p_deploy.runner.threads import DECODING, ENCODING, Inbox, TaskGroup, WorkerCrash, Workers
from p2p_deploy.runner.tiling import FitPlanner, Size
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
        sources: while its rows are being decoded straight into it, what they belong to.
        places: what its rows are.
        writing: the encoding of its rows.
    """

    device: Device
    slot: Slot
    target: int
    sources: list[InputState] = field(default_factory=list)
    places: list[BatchRow] = field(default_factory=list)
    writing: TaskGroup | None = None


class Scheduler:
    """One run: the slots and what is in them."""

    def __init__(
        self,
        devices: list[Device],
        fitting: FitPlanner,
        tracker: Tracker,
        options: RunOptions,
        read: ReadOptions,
        write: WriteOptions,
        inbox: Inbox,
        cancel: threading.Event,
        instances: Path | None,
    ) -> None:
        self.devices = devices
        self.fitting = fitting
        self.layout = fitting.same_for_all
        self.spec = devices[0].backend.spec
        self.tracker = tracker
        self.options, self.read, self.write = options, read, write
        self.inbox = inbox
        self.cancel = cancel
        self.instances = instances
        self.workers = options.workers or available_cores()
        self.exhausted = False
        self.live: set[_Batch] = set()  # all batches under way
        self.open: dict[Size, _Batch] = {}  # those that pictures are still placed in, the oldest first
        self.loose = 0  # pictures being decoded that have no place yet
        self.arrived: deque[tuple[InputState, DecodedPicture]] = deque()  # those that wait for a slot
        self.computing = 0

    def run(self, jobs: Iterable[Job], report: Callable[[], None]) -> None:
        """Do the jobs; ``report`` is called now and then. Raises what ended the run."""
        self.work = self._issue(jobs)
        self.pool = Workers("codec", self.workers, self.inbox)
        self.video_decoder = Workers("decode-video", 1, self.inbox)
        self.video_encoder = Workers("encode-video", 1, self.inbox)
        self.writer = Writer(self.tracker, self.spec, self.write, self.inbox, self.pool, self.video_encoder)
        try:
            for device in self.devices:
                device.start(
                    (self.pool, self.video_decoder, self.video_encoder) if device.backend.device == "cpu" else ()
                )
            self._loop(report)
        finally:
            for device in self.devices:
                device.stop(PATIENCE_S)
            for threads in (self.video_decoder, self.pool, self.video_encoder):
                threads.stop(PATIENCE_S)
            self._tidy()

    def _loop(self, report: Callable[[], None]) -> None:
        while True:
            self._advance()
            if self.exhausted and not (self.live or self.loose or self.arrived or self.writer.closing):
                break
            self._take_in(self._next_event())
            while not self.inbox.empty():
                self._take_in(self.inbox.get())
            report()
        report()

    def _take_in(self, event: Any) -> None:
        if isinstance(event, WorkerCrash):
            raise event.error
        if isinstance(event, TaskGroup):
            event.then(event)
        else:
            event()

    def _next_event(self) -> Any:
        silence = SILENCE_COMPUTING_S if self.computing else SILENCE_S
        try:
            return self.inbox.get(timeout=silence)
        except Empty:
            waiting = sorted(str(state.job.source) for state in self.tracker.unfinished)[:3]
            raise Failed(
                f"Nothing was finished for {silence:.0f} s; under way are {', '.join(waiting)}. A disk or a device "
                "does not answer. Repair it and run again with `resume=True`."
            ) from None

    # -- from inputs to batches

    def _issue(self, jobs: Iterable[Job]) -> Iterator[tuple[InputState, FrameSource, Item]]:
        """The items of all inputs in order; each input is opened when its turn comes."""
        for job in jobs:
            if self._told_to_stop():
                return
            state = self.tracker.start(job)
            try:
                source = tasks.open_input(job, self.spec, self.instances, self.read)
            except ItemFailed as exc:
                state.error = str(exc)
                self.tracker.finish(state)
                continue
            self.tracker.opened(state, source)
            for item in source.items():
                if self._told_to_stop():
                    return
                if state.error:
                    break
                state.issued += 1
                yield state, source, item
            state.listed = True
            self.writer.check(state)

    def _told_to_stop(self) -> bool:
        summary = self.tracker.summary
        if self.cancel.is_set():
            summary.interrupted = True
        return summary.interrupted or (self.options.fail_fast and summary.failed + summary.partial > 0)

    def _next_work(self) -> tuple[InputState, FrameSource, Item] | None:
        found = next(self.work, None)
        self.exhausted = self.exhausted or found is None
        return found

    def _advance(self) -> None:
        """Start whatever there is room for."""
        if self.layout is not None:
            while not self.exhausted and (batch := self._new_batch(self.layout.size)):
                self._fill(batch)
            return
        while self.arrived and self._place(*self.arrived[0]):
            self.arrived.popleft()
        # As many as a batch has, so that pictures of one size find each other, and no more: they are whole pictures.
        ahead = self.workers + max(device.batch.now for device in self.devices)
        while not self.exhausted and self.loose + len(self.arrived) < ahead:
            self._decode_loose()
        if self.arrived and self.open:
            self._compute(self.open.pop(next(iter(self.open))))
        elif self.exhausted and not self.loose and not self.arrived:
            while self.open:
                self._compute(self.open.pop(next(iter(self.open))))

    def _new_batch(self, size: Size) -> _Batch | None:
        """A batch on the device with the least to do."""
        for device in sorted(self.devices, key=lambda device: device.load):
            slot = device.take(size)
            if slot is not None:
                batch = _Batch(device, slot, min(slot.capacity, device.batch.now))
                self.live.add(batch)
                return batch
        return None

    def _fill(self, batch: _Batch) -> None:
        """Start decoding the next items into the rows of a slot."""
        issued: list[tuple[InputState, FrameSource, Item]] = []
        while len(issued) < batch.target and (work := self._next_work()):
            issued.append(work)
        if not issued:
            self._give_back(batch)
            return
        batch.sources = [state for state, _, _ in issued]
        group = TaskGroup(len(issued), functools.partial(self._filled, batch), self.inbox)
        for index, ((_, source, item), rows) in enumerate(
            zip(issued, zip(*batch.slot.inputs, strict=True), strict=False)
        ):
            threads = self.video_decoder if source.sequential else self.pool
            threads.do(group, index, DECODING, tasks.decode_into, source, item, rows, self.spec.input)

    def _filled(self, batch: _Batch, group: TaskGroup) -> None:
        """Close the gaps that failed rows leave, and compute."""
        assert self.layout is not None
        keep = []
        for row, (state, frame) in enumerate(zip(batch.sources, group.outcomes, strict=True)):
            if self._usable(state, frame):
                keep.append(row)
                batch.places.append(BatchRow(state, frame, self.layout))
        batch.slot.compact(keep)
        if keep:
            self._compute(batch)
        else:
            self._give_back(batch)

    def _usable(self, state: InputState, outcome: Any) -> bool:
        """Whether an item was decoded and its input has not failed; settles it where not."""
        if isinstance(outcome, ItemFailed):
            state.error = state.error or str(outcome)
        if not isinstance(outcome, Exception) and not state.error:
            return True
        self.writer.settled(state)
        return False

    def _decode_loose(self) -> None:
        work = self._next_work()
        if work is None:
            return
        state, source, item = work
        self.loose += 1
        threads = self.video_decoder if source.sequential else self.pool
        group = TaskGroup(1, functools.partial(self._decoded, state), self.inbox)
        threads.do(group, 0, DECODING, tasks.decode, source, item, self.fitting, self.spec.input)

    def _decoded(self, state: InputState, group: TaskGroup) -> None:
        self.loose -= 1
        (decoded,) = group.outcomes
        if self._usable(state, decoded):
            state.issued += len(decoded.parts) - 1
            self.arrived.append((state, decoded))

    def _place(self, state: InputState, decoded: DecodedPicture) -> bool:
        """BatchRow the parts of a picture in batches of their size; False when there is no slot for one of them."""
        layout = decoded.layout
        while decoded.parts:
            batch = self.open.get(layout.size) or self._new_batch(layout.size)
            if batch is None:
                return False
            self.open[layout.size] = batch
            part = len(layout.corners) - len(decoded.parts)
            for rows, array in zip(batch.slot.inputs, decoded.parts.pop(0), strict=True):
                rows[len(batch.places)] = array
            batch.places.append(BatchRow(state, decoded.frame, layout, part, decoded.blender))
            if len(batch.places) == batch.target:
                self._compute(self.open.pop(layout.size))
        return True

    def _compute(self, batch: _Batch) -> None:
        batch.slot.count = len(batch.places)
        self.computing += 1
        batch.device.compute(batch.slot, functools.partial(self._computed, batch))

    # -- from batches to outputs

    def _computed(self, batch: _Batch) -> None:
        self.computing -= 1
        batch.writing = TaskGroup(len(batch.places), functools.partial(self._written, batch), self.inbox)
        self.writer.hand_out(batch.places, batch.slot.output, batch.writing)

    def _written(self, batch: _Batch, group: TaskGroup) -> None:
        self._give_back(batch)
        self.writer.take_note(batch.places, group)

    def _give_back(self, batch: _Batch) -> None:
        self.live.discard(batch)
        batch.device.give(batch.slot)

    # -- the end

    def account(self, summary: RunSummary) -> None:
        """Say where the time went."""
        threads = {"images": self.pool, "video in": self.video_decoder, "video out": self.video_encoder}
        summary.workers = self.workers
        summary.batch = max(device.batch.now for device in self.devices)
        summary.devices = [device.backend.device for device in self.devices]
        summary.infer_seconds = [round(device.busy, 3) for device in self.devices]
        summary.codec_seconds = {
            name: {
                "decode": round(sum(clock[DECODING] for clock in stage.clocks), 3),
                "encode": round(sum(clock[ENCODING] for clock in stage.clocks), 3),
            }
            for name, stage in threads.items()
        }

    def _tidy(self) -> None:
        """After the threads have stopped: record what was completed meanwhile, remove what was not."""
        for batch in self.live:
            if batch.writing:
                self.writer.record_quietly(batch.places, batch.writing)
        self.writer.abandon()
