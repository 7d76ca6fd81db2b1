"""The bookkeeping of a run: the state of each input, what became of it, the record and the summary.

An input is opened, its frames are issued and settle, and when all were issued and have settled it is finished: then its
output is closed (an image's was by the call that wrote it; a video's is by ``close_output``, on the thread that wrote
its frames), its source is closed, and its line goes into the record.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.media import Frame, FrameSink, FrameSource, WriteOptions, open_sink
from p2p_deploy.pixels import Pixels
from p2p_deploy.runner.jobs import Job, JobList
from p2p_deploy.runner.output_names import is_still
from p2p_deploy.runner.record import RunRecord, stamp
from p2p_deploy.runner.summary import Execution, RunProgress, RunSummary

MAX_ERRORS_KEPT = 100
GAVE_WAY = "named otherwise, because two inputs would have got one name"


@dataclass(slots=True, eq=False)
class InputState:
    """One input under way. Its fields are assigned here only, by the transitions below.

    They are the main thread's, except ``write`` and ``close_output``, which encoding threads call; those of a video one
    thread calls, in the order of the frames.

    Attributes:
        job: what is read and what is written.
        stamp: by what its files will be known again, taken before they are read.
        expected: frames that are counted on: until it is opened 1 for an image, then what its header promises.
        source: None until it is opened.
        sink: of a video, from its first frame on.
        issued: items handed to a decoding thread; of a picture in tiles, its tiles.
        settled: items that are written, failed, or past the end.
        listed: every item has been issued.
        frames: frames written.
        error: why there is no output.
        notes: conversions that happened to it.
        started: when it was begun, on the performance counter.
    """

    job: Job
    stamp: Any
    expected: int = 0
    source: FrameSource | None = None
    sink: FrameSink | None = None
    issued: int = 0
    settled: int = 0
    listed: bool = False
    frames: int = 0
    error: str | None = None
    notes: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.perf_counter)

    @property
    def sequential(self) -> bool:
        """Whether its frames are decoded and written in their order, each way on one thread, as those of a video."""
        return self.source is not None and self.source.sequential

    @property
    def failed(self) -> bool:
        """Whether it will have no output."""
        return bool(self.error)

    @property
    def finished(self) -> bool:
        """Whether nothing of it is under way any more. Once that is so, it stays so, and nothing settles any more."""
        return self.listed and self.settled >= self.issued

    def opened(self, source: FrameSource) -> None:
        """Its source is open."""
        self.source = source
        self.expected = source.expected_frames or 0  # of an image its pages, which were counted as one

    def issue(self, items: int = 1) -> None:
        """So many items more are under way."""
        self.issued += items

    def end_listing(self) -> None:
        """There are no more items to issue."""
        self.listed = True

    def settle(self) -> None:
        """An item needs nothing more."""
        self.settled += 1

    def fail(self, reason: str) -> None:
        """There will be no output; the first reason is kept. From any thread."""
        self.error = self.error or reason

    def write(self, frame: Frame, image_HWC: Pixels, options: WriteOptions) -> None:
        """Write a frame to the output; an image is complete then, and closed.

        Raises:
            ItemFailed: it cannot be encoded. Once a frame of a video fails, the video has, and no later one may follow.
            Failed: the disk does not take it.
        """
        assert self.source is not None
        if not self.sequential:
            sink = open_sink(self.job.output, self.source, options)
            try:
                sink.write(frame, image_HWC)
                sink.close()
            except BaseException:
                sink.abort()
                raise
            return
        if self.sink is None:
            self.sink = open_sink(self.job.output, self.source, options)
        try:
            self.sink.write(frame, image_HWC)
        except ItemFailed as exc:
            self.fail(str(exc))
            raise

    def wrote(self, notes: Iterable[str]) -> None:
        """A frame was written, and that is what happened to it."""
        self.frames += 1
        self.notes.update(notes)

    def close_output(self) -> None:
        """Complete a video of which nothing is under way any more; where it has failed, remove what was written.

        Raises:
            Failed: the disk does not take it.
        """
        assert self.sink is not None
        try:
            if self.failed:
                self.sink.abort()
            else:
                self.sink.close()
        except ItemFailed as exc:
            self.fail(str(exc))
            self.sink.abort()
        self.notes.update(self.sink.notes)

    def end(self) -> tuple[str, str | None]:
        """Close the source; how it ended (``done``, ``partial`` or ``failed``), and a sentence about that."""
        damage = None
        if self.source is not None:
            self.source.close()
            damage = self.source.damage
        if not self.frames:
            self.fail(damage or f"{self.job.source} has no frame that can be read.")
        return "failed" if self.failed else "partial" if damage else "done", self.error or damage

    def abandon(self) -> None:
        """Remove what was written of a video, and close the source."""
        if self.sink is not None:
            self.sink.abort()
        if self.source is not None:
            self.source.close()


class Tracker:
    """Keeps the account of a run. Used from the main thread only.

    Attributes:
        unfinished: the inputs that were started and have no line in the record.
    """

    def __init__(
        self, jobs: JobList, record: RunRecord, model_size: tuple[int, int], model: str, stamps: Callable[[Job], Any]
    ) -> None:
        """Open the account of ``jobs``; ``model`` and ``stamps`` are what ``resume`` will know files by."""
        self.unfinished: set[InputState] = set()
        self._jobs, self._record = jobs, record
        self._model_size, self._model, self._stamps = model_size, model, stamps
        self._ended: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._errors: list[tuple[str, str]] = []
        self._frames_written = self._frames_kept = 0
        self._frames_expected = jobs.stills

    @property
    def bad(self) -> int:
        """Inputs that have failed or are incomplete."""
        return self._ended["failed"] + self._ended["partial"]

    def start(self, job: Job) -> InputState:
        """Open the account of an input."""
        state = InputState(job, self._stamps(job), int(is_still(job.name)))
        self.unfinished.add(state)
        return state

    def opened(self, state: InputState, source: FrameSource) -> None:
        """Its source is open."""
        self._frames_expected -= state.expected
        state.opened(source)
        self._frames_expected += state.expected

    def wrote(self, state: InputState, notes: Iterable[str]) -> None:
        """A frame of it was written."""
        state.wrote(notes)
        self._frames_written += 1

    def finish(self, state: InputState) -> None:
        """Nothing of it is under way any more, and its output is closed: count it, and write its line.

        Raises:
            Failed: the record cannot be written.
        """
        self._line(state, *state.end())

    def finish_quietly(self, state: InputState) -> None:
        """The same where the run is over already, perhaps because the disk takes nothing."""
        with contextlib.suppress(P2PError):
            self.finish(state)
        self.unfinished.discard(state)

    def abandon_unfinished(self) -> None:
        """The run is over and they are not: record images that are complete, remove what was written of the others."""
        for state in list(self.unfinished):
            if state.frames and not state.sequential:  # it was written, and nobody asked yet whether it has more items
                self.finish_quietly(state)
                continue
            state.abandon()
            if state.issued:
                with contextlib.suppress(P2PError):  # the disk may be what ended the run
                    sentence = f"{state.job.source} was not finished; what was written was removed."
                    self._line(state, "interrupted", sentence)

    def _line(self, state: InputState, status: str, sentence: str | None) -> None:
        whole = status in ("done", "partial")
        job, notes = state.job, sorted(state.notes)
        if job.note:
            notes.append(job.note)
        self._record.append(
            {
                "input": job.name,
                "status": status,
                "output": str(job.output) if whole else None,
                "frames": state.frames if whole else 0,
                "seconds": round(time.perf_counter() - state.started, 4),
                "notes": notes,
                "error": sentence,
                "model": self._model,
                "input_stamp": state.stamp,
                "output_stamp": stamp(job.output) if whole else None,
            }
        )
        self.unfinished.discard(state)
        self._ended[status] += 1
        if whole:
            self._frames_kept += state.frames
            self._notes.update(state.notes)
            if job.note:
                self._notes[GAVE_WAY] += 1
        if sentence and len(self._errors) < MAX_ERRORS_KEPT:
            self._errors.append((job.name, sentence))
        self._frames_expected += state.frames - state.expected

    def progress(self) -> RunProgress:
        """How far the run has come."""
        inputs, bad, skipped = self._ended["done"] + self.bad, self.bad, self._jobs.skipped
        total = self._jobs.total + skipped
        return RunProgress(inputs + skipped, total, bad, self._frames_written, self._frames_expected)

    def summary(self, execution: Execution) -> RunSummary:
        """What became of everything, and how it was done."""
        return RunSummary(
            model_size=self._model_size,
            inputs_total=self._jobs.total + self._jobs.skipped,
            done=self._ended["done"],
            skipped=self._jobs.skipped,
            partial=self._ended["partial"],
            failed=self._ended["failed"],
            frames=self._frames_kept,
            notes=dict(self._notes),
            ignored=self._jobs.ignored,
            errors=tuple(self._errors),
            record=str(self._record.path) if self._record.path else None,
            **execution._asdict(),
        )
