"""What becomes of computed batches: rows go to encoding threads, in order where it counts, and inputs are finished."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from p2p_deploy.media import WriteOptions
from p2p_deploy.pixels import Row
from p2p_deploy.runner import tasks
from p2p_deploy.runner.tasks import BatchRow
from p2p_deploy.runner.threads import ENCODING, CodecThreads, Inbox, Task, TaskGroup
from p2p_deploy.runner.tracker import InputState, Tracker
from p2p_deploy.spec import ModelSpec


@dataclass(slots=True, eq=False)
class _FrameOrder:
    """The rows of a video, which are written in the order of its frames, whichever batch or device is done first.

    Attributes:
        due: which frame is written next, and which part of it.
        held: what was computed too early, by frame and part.
    """

    due: tuple[int, int] = (0, 0)
    held: dict[tuple[int, int], tuple[BatchRow, Task]] = field(default_factory=dict)


class Writer:
    """Used from the main thread only.

    Attributes:
        closing: the videos that are being finished.
    """

    def __init__(
        self, tracker: Tracker, spec: ModelSpec, options: WriteOptions, inbox: Inbox, codecs: CodecThreads
    ) -> None:
        self.closing: dict[InputState, TaskGroup] = {}
        self._tracker, self._spec, self._options = tracker, spec, options
        self._inbox, self._codecs = inbox, codecs
        self._orders: dict[InputState, _FrameOrder] = {}

    def hand_out(self, rows: Sequence[BatchRow], output: Row, group: TaskGroup) -> None:
        """Have the outputs encoded; what became of each goes to ``group``."""
        for index, (row, pixels) in enumerate(zip(rows, output, strict=False)):
            task = Task(group, index, ENCODING, tasks.encode, (row, pixels, self._spec.output, self._options))
            if row.state.sequential:
                order = self._orders.setdefault(row.state, _FrameOrder())
                order.held[row.frame.index, row.part] = row, task
                self._write_due(row.state, order)
            else:
                self._codecs.images.do(task)

    def _write_due(self, state: InputState, order: _FrameOrder) -> None:
        """Hand on what is next; all of it where a frame has failed, since nothing more is written then."""
        while order.held and (state.failed or order.due in order.held):
            frame, part = at = next(iter(order.held)) if state.failed else order.due
            row, task = order.held.pop(at)
            order.due = (frame, part + 1) if part + 1 < len(row.plan.corners) else (frame + 1, 0)
            self._codecs.video_out.do(task)

    def take_note(self, rows: Sequence[BatchRow], outcomes: Sequence[Any]) -> None:
        """Every row of a batch was written, or has failed."""
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Exception):
                row.state.fail(str(outcome))
            elif outcome:
                self._tracker.wrote(row.state, tasks.notes_of(row, self._spec))
        for row in rows:
            self.settle(row.state)

    def settle(self, state: InputState) -> None:
        """An item of an input needs nothing more."""
        state.settle()
        if state.failed and state in self._orders:
            self._write_due(state, self._orders[state])
        self.finish_if_due(state)

    def finish_if_due(self, state: InputState) -> None:
        """Finish an input when nothing of it is under way any more; a video once its output is closed."""
        if not state.finished:
            return
        self._orders.pop(state, None)
        if state.sink is None:
            self._tracker.finish(state)
        else:
            group = self.closing[state] = TaskGroup(1, functools.partial(self._closed, state), self._inbox)
            self._codecs.video_out.do(Task(group, 0, ENCODING, state.close_output))

    def _closed(self, state: InputState, outcomes: Sequence[Any]) -> None:
        del self.closing[state]
        self._tracker.finish(state)

    def record_quietly(self, rows: Sequence[BatchRow], outcomes: Sequence[Any]) -> None:
        """Record the images of a batch that were completed while the run ended."""
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome is True and not row.state.sequential and row.state in self._tracker.unfinished:
                self._tracker.wrote(row.state, tasks.notes_of(row, self._spec))
                self._tracker.finish_quietly(row.state)

    def abandon(self) -> None:
        """The run is over: record the videos that were finished meanwhile, and remove what was not."""
        for state, group in self.closing.items():
            if group.complete:
                self._tracker.finish_quietly(state)
        self._tracker.abandon_unfinished()
