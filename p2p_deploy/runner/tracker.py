"""The bookkeeping of a run: what is under way, what became of each input, the record and the summary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from p2p_deploy.errors import P2PError
from p2p_deploy.media import FrameSink, FrameSource
from p2p_deploy.runner.jobs import Job, JobList
from p2p_deploy.runner.output_names import is_still
from p2p_deploy.runner.record import RunRecord, stamp
from p2p_deploy.runner.summary import RunProgress, RunSummary

MAX_ERRORS_KEPT = 100
GAVE_WAY = "named otherwise, because two inputs would have got one name"


@dataclass(slots=True, eq=False)
class InputState:
    """One input under way.

    The main thread owns it; ``sink`` and ``error`` may be set by the one thread that encodes it.

    Attributes:
        job: what is read and what is written.
        stamp: by what its files will be known again, taken before they are read.
        source: None until it is opened.
        sink: of a video, from its first frame on.
        expected: frames that are counted on: until it is opened 1 for an image, then what its header promises.
        issued: items handed to a decoding thread.
        settled: items that are written, failed, or past the end.
        listed: every item has been issued.
        closing: nothing is under way any more; the sink is being closed.
        frames: frames written.
        error: why there is no output.
        notes: conversions that happened to it.
        started: when it was opened, on the performance counter.
    """

    job: Job
    stamp: Any
    source: FrameSource | None = None
    sink: FrameSink | None = None
    expected: int = 0
    issued: int = 0
    settled: int = 0
    listed: bool = False
    closing: bool = False
    frames: int = 0
    error: str | None = None
    notes: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.perf_counter)


class Tracker:
    """Keeps the account of a run. Used from the main thread only."""

    def __init__(
        self, jobs: JobList, record: RunRecord, model_size: tuple[int, int], model: str, stamps: Callable[[Job], Any]
    ) -> None:
        """Open the account of ``jobs``; ``model`` and ``stamps`` are what ``resume`` will know files by."""
        self.record = record
        self.model = model
        self.stamps = stamps
        self.summary = RunSummary(
            model_size,
            jobs.total + jobs.skipped,
            skipped=jobs.skipped,
            ignored=jobs.ignored,
            record=str(record.path) if record.path else None,
        )
        self.unfinished: set[InputState] = set()
        self._frames = 0
        self._frames_expected = jobs.stills

    def start(self, job: Job) -> InputState:
        """Open the account of an input."""
        state = InputState(job, self.stamps(job), expected=int(is_still(job.name)))
        self.unfinished.add(state)
        return state

    def opened(self, state: InputState, source: FrameSource) -> None:
        """Its source is open."""
        state.source = source
        promised = source.expected_frames or 0  # of an image its pages, which were counted as one
        self._frames_expected += promised - state.expected
        state.expected = promised

    def wrote(self, state: InputState, notes: Iterable[str]) -> None:
        """A frame of it was written."""
        state.frames += 1
        state.notes.update(notes)
        self._frames += 1

    def finish(self, state: InputState) -> None:
        """Nothing of it is under way any more: close its source, count it, and write its line.

        Raises:
            Failed: the record cannot be written.
        """
        if state.source is not None:
            state.source.close()
        damage = state.source.damage if state.source else None
        if not state.frames and not state.error:
            state.error = damage or f"{state.job.source} has no frame that can be read."
        self._line(state, "failed" if state.error else "partial" if damage else "done", state.error or damage)

    def abandon(self, state: InputState) -> None:
        """The run is over and it is not: remove what was written of it."""
        if state.sink is not None:
            state.sink.abort()
        if state.source is not None:
            state.source.close()
        if state.issued:
            with contextlib.suppress(P2PError):  # the disk may be what ended the run
                self._line(state, "interrupted", f"{state.job.source} was not finished; what was written was removed.")

    def _line(self, state: InputState, status: str, sentence: str | None) -> None:
        whole = status in ("done", "partial")
        job, notes = state.job, sorted(state.notes)
        if job.note:
            notes.append(job.note)
        self.record.append(
            {
                "input": job.name,
                "status": status,
                "output": str(job.output) if whole else None,
                "frames": state.frames if whole else 0,
                "seconds": round(time.perf_counter() - state.started, 4),
                "notes": notes,
                "error": sentence,
                "model": self.model,
                "input_stamp": state.stamp,
                "output_stamp": stamp(job.output) if whole else None,
            }
        )
        self.unfinished.discard(state)
        summary = self.summary
        if status != "interrupted":
            setattr(summary, status, getattr(summary, status) + 1)
        if whole:
            summary.frames += state.frames
            for note in state.notes:
                summary.notes[note] += 1
            if job.note:
                summary.notes[GAVE_WAY] += 1
        if sentence and len(summary.errors) < MAX_ERRORS_KEPT:
            summary.errors.append((job.name, sentence))
        self._frames_expected += state.frames - state.expected

    def progress(self) -> RunProgress:
        """How far the run has come."""
        summary = self.summary
        bad = summary.failed + summary.partial
        return RunProgress(
            bad + summary.done + summary.skipped, summary.inputs_total, bad, self._frames, self._frames_expected
        )
