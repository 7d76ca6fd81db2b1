"""The loop: decode, fit, infer, restore, encode, with slots in a ring.

    source ─ decode ─► slot.input ─ submit, wait ─► slot.output ─ encode ─► sink
             threads                the caller                    threads

One thread, the caller's, owns the order of things: it hands the rows of a free slot to the decoding threads, runs the
oldest slot whose rows are ready, hands its outputs to the encoding threads, and takes the slot back when they are
written. It waits for nothing but those futures and the runtime, so a failure anywhere surfaces here, and nothing can
wait for a thread that is gone. The number of slots bounds memory and holds decoding back when encoding is slow.

Images are decoded and encoded on pools; the frames of a video on one thread each way, in order.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from p2p_deploy import stages
from p2p_deploy.backends.base import Backend, Slot, available_cores
from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.jobs import JobList, plan_jobs
from p2p_deploy.ledger import InputState, Ledger
from p2p_deploy.manifest import RECORD_NAME, RunRecord
from p2p_deploy.media import EndOfStream, Frame, FrameSource, Item, is_video
from p2p_deploy.resume import remove_leftovers, without_what_is_done
from p2p_deploy.summary import Progress, RunSummary

DEFAULT_BATCH = 4
# One slot being filled, one being computed, one being written, and one to spare for whichever stage is late.
SLOTS = 4


def run(
    model: Backend,
    source: str | Path,
    out: str | Path,
    *,
    batch: int = DEFAULT_BATCH,
    recursive: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    instances: str | Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
) -> RunSummary:
    """Run a model over an image, a video, or a folder of both.

    Frames are resized to the model's size, and outputs back to the source's. An output appears under its name only when
    it is complete. ``out/p2p-run.jsonl`` gets a line for each input and one for the whole run.

    Args:
        model: what ``p2p_deploy.load`` gave.
        source: an image, a video or a folder.
        out: the output folder, or the output file for a single input; see ``jobs.plan_jobs``.
        batch: frames computed at once, at least 1.
        recursive: descend into sub-folders.
        overwrite: replace existing outputs.
        resume: leave out what an earlier run has done, and do again what has changed since; see ``resume``.
        instances: for a model that takes labels and instances, the folder with the instance map of each label map, or
            the file for a single one; see ``media.maps.instances_of``.
        on_progress: called from this thread whenever something was finished.
        cancel: set it from anywhere to stop: what is under way is finished, the rest is left alone.

    Returns:
        The summary. Inputs that fail are counted in it and do not raise.

    Raises:
        InputError, OutputError: nothing was done, and why.
        Failed: a stage or the device failed; outputs that were finished by then are complete and recorded.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    maps_of_instances = Path(instances) if instances is not None else None
    stages.check_instances(model.spec, Path(source), maps_of_instances)
    jobs = plan_jobs(Path(source), Path(out), recursive=recursive, overwrite=overwrite or resume)
    fingerprint = model.fingerprint() if jobs.folder else ""
    stamps = functools.partial(stages.input_stamp, instances=maps_of_instances)
    if resume:
        remove_leftovers(jobs)
        jobs = without_what_is_done(jobs, fingerprint, stamps)
    slots = model.slots(SLOTS + model.in_flight - 1, batch)  # first, so that a model that refuses leaves no record
    record = RunRecord(jobs.folder / RECORD_NAME if jobs.folder else None)
    ledger = Ledger(jobs, record, model.size, fingerprint, stamps)
    started = time.perf_counter()
    try:
        run_ = _Run(model, jobs, ledger, cancel or threading.Event(), maps_of_instances)
        run_.run(slots, lambda: on_progress(ledger.progress()))
        ledger.summary.seconds = time.perf_counter() - started
        record.append({"summary": ledger.summary.to_dict()})
    finally:
        record.close()
    return ledger.summary


@dataclass(slots=True)
class _Batch:
    """A slot under way: rows being decoded, then rows being written."""

    slot: Slot
    decoding: list[tuple[InputState, Future[Frame]]]
    rows: list[tuple[InputState, Frame]] = field(default_factory=list)
    writing: deque[tuple[InputState, Frame, Future[None]]] = field(default_factory=deque)

    def written(self) -> bool:
        """Whether every row has been written, or has failed."""
        return all(future.done() for _, _, future in self.writing)


class _Run:
    """One run: the slots and what is in them."""

    def __init__(
        self,
        model: Backend,
        jobs: JobList,
        ledger: Ledger,
        cancel: threading.Event,
        instances: Path | None,
    ) -> None:
        self.model = model
        self.jobs = jobs
        self.ledger = ledger
        self.cancel = cancel
        self.instances = instances
        self.work = self._issue()
        self.exhausted = False
        self.decoding: deque[_Batch] = deque()
        self.running: deque[_Batch] = deque()
        self.writing: deque[_Batch] = deque()
        self.closing: deque[tuple[InputState, Future[None]]] = deque()

    def run(self, slots: list[Slot], report: Callable[[], None]) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._tidy)  # after the pools have stopped

            def pool(name: str, threads: int) -> ThreadPoolExecutor:
                executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
                stack.callback(executor.shutdown, wait=True, cancel_futures=True)
                return executor

            # Keyed by whether the source is sequential.
            self.decoders = {False: pool("decode", available_cores()), True: pool("decode-video", 1)}
            self.encoders = {False: pool("encode", available_cores()), True: pool("encode-video", 1)}
            self._loop(deque(slots), report)

    def _loop(self, free: deque[Slot], report: Callable[[], None]) -> None:
        while True:
            while free and not self.exhausted:
                batch = self._fill(free[0])
                if batch.decoding:
                    free.popleft()
                    self.decoding.append(batch)
            if self.decoding:
                self._infer(self.decoding.popleft())
            while self.running and (len(self.running) >= self.model.in_flight or not self.decoding):
                self._write(self.running.popleft())
            # Only when there is nothing to compute are the oldest writes worth waiting for.
            while self.writing and (self.writing[0].written() or not (self.decoding or self.running)):
                self._settle(self.writing[0])
                free.append(self.writing.popleft().slot)
            while self.closing and (self.closing[0][1].done() or not (self.decoding or self.writing)):
                self._closed(*self.closing[0])
                self.closing.popleft()
            report()
            if self.exhausted and not (self.decoding or self.running or self.writing or self.closing):
                return

    def _issue(self) -> Iterator[tuple[InputState, FrameSource, Item]]:
        """The items of all inputs in order; each input is opened when its turn comes."""
        for job in self.jobs:
            if self.cancel.is_set():
                self.ledger.summary.interrupted = True
                return
            state = self.ledger.start(job)
            try:
                source = stages.open_input(job, self.model.spec, self.instances)
            except ItemFailed as exc:
                state.error = str(exc)
                self.ledger.finish(state)
                continue
            self.ledger.opened(state, source)
            for item in source.items():
                if self.cancel.is_set():
                    self.ledger.summary.interrupted = True
                    return
                if state.error:
                    break
                state.issued += 1
                yield state, source, item
            state.listed = True
            self._check(state)

    def _fill(self, slot: Slot) -> _Batch:
        """Start decoding the next items into the rows of a slot."""
        batch = _Batch(slot, [])
        for rows in zip(*slot.inputs, strict=True):
            issued = next(self.work, None)
            if issued is None:
                self.exhausted = True
                break
            state, source, item = issued
            future = self.decoders[source.sequential].submit(stages.decode, source, item, rows, self.model.spec.input)
            batch.decoding.append((state, future))
        return batch

    def _infer(self, batch: _Batch) -> None:
        """Wait for the rows, close the gaps that failed ones leave, and start computing."""
        keep = []
        for row, (state, future) in enumerate(batch.decoding):
            frame = None
            try:
                frame = future.result()
            except EndOfStream:
                pass
            except ItemFailed as exc:
                state.error = state.error or str(exc)
            if frame is None or state.error:
                self._settled(state)
            else:
                keep.append(row)
                batch.rows.append((state, frame))
        batch.slot.compact(keep)
        if keep:
            self.model.submit(batch.slot)
            self.running.append(batch)
        else:
            self.writing.append(batch)  # nothing to write: the slot goes straight back

    def _write(self, batch: _Batch) -> None:
        """Wait for the outputs and hand them to the encoding threads."""
        self.model.wait(batch.slot)
        self.writing.append(batch)
        for (state, frame), row in zip(batch.rows, batch.slot.output, strict=False):
            encoder = self.encoders[is_video(state.job.source)]
            future = encoder.submit(stages.encode, state, frame, row, self.model.spec.output)
            batch.writing.append((state, frame, future))

    def _settle(self, batch: _Batch) -> None:
        """Take note of what became of each row; rows leave the batch as they are settled."""
        while batch.writing:
            state, frame, future = batch.writing[0]
            try:
                future.result()
            except ItemFailed as exc:
                state.error = state.error or str(exc)
            else:
                self.ledger.wrote(state, [*frame.notes, *stages.fitting_notes(frame, self.model, state.job.output)])
            batch.writing.popleft()
            self._settled(state)

    def _settled(self, state: InputState) -> None:
        state.settled += 1
        self._check(state)

    def _check(self, state: InputState) -> None:
        """Finish an input when nothing of it is under way any more."""
        if state.closing or not state.listed or state.settled < state.issued:
            return
        state.closing = True
        if state.sink is None:
            self.ledger.finish(state)
        else:
            end = state.sink.abort if state.error else state.sink.close
            self.closing.append((state, self.encoders[True].submit(end)))

    def _closed(self, state: InputState, future: Future[None]) -> None:
        try:
            future.result()
        except ItemFailed as exc:
            state.error = state.error or str(exc)
            if state.sink is not None:
                state.sink.abort()
        self.ledger.finish(state)

    def _tidy(self) -> None:
        """After the pools have stopped: record what was completed meanwhile, remove what was not."""
        for batch in self.writing:
            for state, frame, future in batch.writing:
                if state.sink is None and _succeeded(future):
                    self.ledger.wrote(state, [*frame.notes, *stages.fitting_notes(frame, self.model, state.job.output)])
                    self._record_quietly(state)
        for state, future in self.closing:
            if _succeeded(future):
                self._record_quietly(state)
        for state in list(self.ledger.unfinished):
            self.ledger.abandon(state)

    def _record_quietly(self, state: InputState) -> None:
        with contextlib.suppress(P2PError):  # the disk may be what ended the run
            self.ledger.finish(state)
        self.ledger.unfinished.discard(state)


def _succeeded(future: Future[None]) -> bool:
    return future.done() and not future.cancelled() and not future.exception()
