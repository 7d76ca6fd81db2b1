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
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from p2p_deploy import pixels
from p2p_deploy.backends.base import Backend, Slot, available_cores
from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.jobs import Job, JobList, plan_jobs
from p2p_deploy.manifest import RECORD_NAME, RunRecord
from p2p_deploy.media import EndOfStream, Frame, FrameSink, FrameSource, Item, is_video, open_sink, open_source
from p2p_deploy.summary import Progress, RunSummary

DEFAULT_BATCH = 4
# One slot being filled, one being computed, one being written, and one to spare for whichever stage is late.
SLOTS = 4
MAX_ERRORS_KEPT = 100


def run(
    model: Backend,
    source: str | Path,
    out: str | Path,
    *,
    batch: int = DEFAULT_BATCH,
    recursive: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
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
    plan = plan_jobs(Path(source), Path(out), recursive=recursive, overwrite=overwrite)
    record = RunRecord(plan.folder / RECORD_NAME if plan.folder else None)
    try:
        return _Run(model, plan, record, batch, on_progress, cancel or threading.Event()).run()
    finally:
        record.close()


@dataclass(slots=True, eq=False)
class _Input:
    """One job under way. The main thread owns it; ``sink`` and ``error`` may be set by the thread that encodes it."""

    job: Job
    source: FrameSource | None = None
    sink: FrameSink | None = None
    expected: int = 0
    issued: int = 0  # items handed to a decoding thread
    settled: int = 0  # items that are written, failed, or past the end
    listed: bool = False  # every item has been issued
    closing: bool = False
    frames: int = 0
    error: str | None = None
    notes: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.perf_counter)


@dataclass(slots=True)
class _Batch:
    """A slot under way: rows being decoded, then rows being written."""

    slot: Slot
    decoding: list[tuple[_Input, Future[Frame]]]
    rows: list[tuple[_Input, Frame]] = field(default_factory=list)
    writing: deque[tuple[_Input, Frame, Future[None]]] = field(default_factory=deque)


class _Run:
    def __init__(
        self,
        model: Backend,
        plan: JobList,
        record: RunRecord,
        batch: int,
        on_progress: Callable[[Progress], None] | None,
        cancel: threading.Event,
    ) -> None:
        self.model = model
        self.jobs = plan.jobs
        self.record = record
        self.capacity = batch
        self.on_progress = on_progress
        self.cancel = cancel
        self.summary = RunSummary(
            model.size, len(plan.jobs), ignored=plan.ignored, record=str(record.path) if record.path else None
        )
        self.expected = sum(not is_video(job.source) for job in plan.jobs)
        self.work = self._issue()
        self.exhausted = False
        self.open: set[_Input] = set()  # inputs without their final line in the record
        self.decoding: deque[_Batch] = deque()
        self.running: deque[_Batch] = deque()
        self.writing: deque[_Batch] = deque()
        self.closing: deque[tuple[_Input, Future[None]]] = deque()

    def run(self) -> RunSummary:
        started = time.perf_counter()
        free = deque(self.model.slots(SLOTS + self.model.in_flight - 1, self.capacity))
        with contextlib.ExitStack() as stack:
            stack.callback(self._tidy)  # after the pools have stopped

            def pool(name: str, threads: int) -> ThreadPoolExecutor:
                executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
                stack.callback(executor.shutdown, wait=True, cancel_futures=True)
                return executor

            # Keyed by whether the source is sequential.
            workers = available_cores()
            self.decoders = {False: pool("decode", workers), True: pool("decode-video", 1)}
            self.encoders = {False: pool("encode", workers), True: pool("encode-video", 1)}
            self._loop(free)
        self.summary.seconds = time.perf_counter() - started
        self.record.append({"summary": self.summary.to_dict()})
        return self.summary

    def _loop(self, free: deque[Slot]) -> None:
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
            while self.writing and (_written(self.writing[0]) or not (self.decoding or self.running)):
                self._settle(self.writing[0])
                free.append(self.writing.popleft().slot)
            while self.closing and (self.closing[0][1].done() or not (self.decoding or self.writing)):
                self._closed(*self.closing.popleft())
            self._report()
            if self.exhausted and not (self.decoding or self.running or self.writing or self.closing):
                return

    def _issue(self) -> Iterator[tuple[_Input, Item]]:
        """The items of all inputs in order; each input is opened when its turn comes."""
        for job in self.jobs:
            state = _Input(job)
            self.open.add(state)
            try:
                state.source = open_source(job.source)
            except ItemFailed as exc:
                state.error = str(exc)
                self._finish(state)
                continue
            state.expected = state.source.expected_frames or 0
            self.expected += state.expected if is_video(job.source) else 0
            for item in state.source.items():
                if self.cancel.is_set():
                    self.summary.interrupted = True
                    return
                if state.error:
                    break
                state.issued += 1
                yield state, item
            state.listed = True
            self._check(state)

    def _fill(self, slot: Slot) -> _Batch:
        """Start decoding the next items into the rows of a slot."""
        batch = _Batch(slot, [])
        for row_HWC in slot.input:
            issued = next(self.work, None)
            if issued is None:
                self.exhausted = True
                break
            state, item = issued
            assert state.source is not None
            executor = self.decoders[state.source.sequential]
            batch.decoding.append((state, executor.submit(_decode, state.source, item, row_HWC)))
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
        for (state, frame), row_HWC in zip(batch.rows, batch.slot.output, strict=False):
            assert state.source is not None
            future = self.encoders[state.source.sequential].submit(_encode, state, frame, row_HWC)
            batch.writing.append((state, frame, future))
        self.writing.append(batch)

    def _settle(self, batch: _Batch) -> None:
        """Take note of what became of each row; rows leave the batch as they are settled."""
        while batch.writing:
            state, frame, future = batch.writing[0]
            try:
                future.result()
            except ItemFailed as exc:
                state.error = state.error or str(exc)
            else:
                state.frames += 1
                self.summary.frames += 1
                state.notes.update(frame.notes, _fitting_notes(frame, self.model))
            batch.writing.popleft()
            self._settled(state)

    def _settled(self, state: _Input) -> None:
        state.settled += 1
        self._check(state)

    def _check(self, state: _Input) -> None:
        """Finish an input when nothing of it is under way any more."""
        if state.closing or not state.listed or state.settled < state.issued:
            return
        state.closing = True
        if state.sink is None:
            self._finish(state)
        else:
            end = state.sink.abort if state.error else state.sink.close
            self.closing.append((state, self.encoders[True].submit(end)))

    def _closed(self, state: _Input, future: Future[None]) -> None:
        try:
            future.result()
        except ItemFailed as exc:
            state.error = state.error or str(exc)
            if state.sink is not None:
                state.sink.abort()
        self._finish(state)

    def _finish(self, state: _Input) -> None:
        """The final line of an input."""
        source, summary = state.source, self.summary
        if source is not None:
            source.close()
        damage = source.damage if source else None
        if not state.frames and not state.error:
            state.error = damage or f"{state.job.source} has no frame that can be read."
        status = "failed" if state.error else "partial" if damage else "done"
        sentence = state.error or damage
        self.record.append(
            {
                "input": state.job.name,
                "status": status,
                "output": None if state.error else str(state.job.output),
                "frames": state.frames,
                "seconds": round(time.perf_counter() - state.started, 4),
                "notes": sorted(state.notes),
                "error": sentence,
            }
        )
        self.open.discard(state)
        setattr(summary, status, getattr(summary, status) + 1)
        summary.notes.update(state.notes)
        if sentence and len(summary.errors) < MAX_ERRORS_KEPT:
            summary.errors.append((state.job.name, sentence))
        self.expected += state.frames - state.expected if is_video(state.job.source) else state.frames - 1

    def _report(self) -> None:
        if self.on_progress is None:
            return
        summary = self.summary
        bad = summary.failed + summary.partial
        finished = bad + summary.done
        self.on_progress(Progress(finished, summary.inputs_total, bad, summary.frames, self.expected))

    def _tidy(self) -> None:
        """After the pools have stopped: record images that were written meanwhile, remove what is unfinished."""
        for batch in self.writing:
            for state, _, future in batch.writing:
                if state.sink is None and future.done() and not future.cancelled() and not future.exception():
                    state.frames = 1
                    with contextlib.suppress(P2PError):  # the disk may be what failed
                        self._finish(state)
        for state in self.open:
            if state.sink is not None:
                state.sink.abort()
            if state.source is not None:
                state.source.close()


def _decode(source: FrameSource, item: Item, row_HWC: pixels.Pixels) -> Frame:
    frame, image_HWC = source.decode(item)
    try:
        pixels.fit_into(image_HWC, row_HWC)
    except cv2.error as exc:
        raise ItemFailed(f"{item.path} cannot be resized: {exc.err}.") from exc
    return frame


def _encode(state: _Input, frame: Frame, row_HWC: pixels.Pixels) -> None:
    assert state.source is not None
    if state.error:
        raise ItemFailed(state.error)
    image_HWC = pixels.restore(row_HWC, *frame.size)
    if not state.source.sequential:
        sink = open_sink(state.job.output, state.source)
        try:
            sink.write(frame, image_HWC)
            sink.close()
        except BaseException:
            sink.abort()
            raise
        return
    if state.sink is None:
        state.sink = open_sink(state.job.output, state.source)
    try:
        state.sink.write(frame, image_HWC)
    except ItemFailed as exc:
        state.error = str(exc)
        raise


def _written(batch: _Batch) -> bool:
    return all(future.done() for _, _, future in batch.writing)


def _fitting_notes(frame: Frame, model: Backend) -> list[str]:
    notes: list[Any] = []
    height, width = model.size
    if frame.size != model.size:
        notes.append(f"resized to {height}x{width} and back")
    if frame.channels != model.spec.input.channels:
        notes.append("colour reduced to grey" if frame.channels == 3 else "grey widened to RGB")
    return notes
