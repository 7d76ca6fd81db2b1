"""What becomes of computed batches: rows go to encoding threads, in order where it counts, and inputs are finished."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.media import WriteOptions
from p2p_deploy.pixels import Row
from p2p_deploy.runner import tasks
from p2p_deploy.runner.tasks import BatchRow
from p2p_deploy.runner.threads import ENCODING, Inbox, TaskGroup, Workers
from p2p_deploy.runner.tracker import InputState, Tracker
from p2p_deploy.spec import ModelSpec


@dataclass(slots=True, eq=False)
class _Sequence:
    """The rows of a video, which are written in the order of its frames, whichever batch or device is done first.

    Attributes:
        due: which frame is written next, and which part of it.
        held: what was computed too early, by frame and part.
    """

    due: tuple[int, int] = (0, 0)
    held: dict[tuple[int, int], tuple[BatchRow, Callable[[], None]]] = field(default_factory=dict)


class Writer:
    """Used from the main thread only.

    Attributes:
        closing: the videos that are being finished.
    """

    def __init__(
        self, tracker: Tracker, spec: ModelSpec, options: WriteOptions, inbox: Inbox, pool: Workers, writer: Workers
    ) -> None:
        """Images are encoded by ``pool``, videos by ``writer``."""
        self.closing: dict[InputState, TaskGroup] = {}
        self._tracker, self._spec, self._options, self._inbox = tracker, spec, options, inbox
        self._pool, self._writer = pool, writer
        self._sequences: dict[InputState, _Sequence] = {}

    def hand_out(self, places: Sequence[BatchRow], output: Row, group: TaskGroup) -> None:
        """Have the outputs encoded; what became of each goes to ``group``."""
        for index, (place, row) in enumerate(zip(places, output, strict=False)):
            task = (group, index, ENCODING, tasks.encode, place, row, self._spec.output, self._options)
            if place.state.source is None or not place.state.source.sequential:
                self._pool.do(*task)
                continue
            sequence = self._sequences.setdefault(place.state, _Sequence())
            sequence.held[place.frame.index, place.part] = place, functools.partial(self._writer.do, *task)
            self._write_due(place.state, sequence)

    def _write_due(self, state: InputState, sequence: _Sequence) -> None:
        """Hand on what is next; all of it where a frame has failed, since nothing more is written then."""
        while sequence.held and (state.error or sequence.due in sequence.held):
            at = next(iter(sequence.held)) if state.error else sequence.due
            place, write = sequence.held.pop(at)
            frame, part = at
            sequence.due = (frame, part + 1) if part + 1 < len(place.layout.corners) else (frame + 1, 0)
            write()

    def take_note(self, places: Sequence[BatchRow], group: TaskGroup) -> None:
        """Every row of a batch was written, or has failed."""
        for place, outcome in zip(places, group.outcomes, strict=True):
            if isinstance(outcome, Exception):
                place.state.error = place.state.error or str(outcome)
            elif outcome:
                self._tracker.wrote(place.state, tasks.notes_of(place, self._spec))
        for place in places:
            self.settled(place.state)

    def settled(self, state: InputState) -> None:
        """An item of an input needs nothing more."""
        state.settled += 1
        if state.error and state in self._sequences:
            self._write_due(state, self._sequences[state])
        self.check(state)

    def check(self, state: InputState) -> None:
        """Finish an input when nothing of it is under way any more."""
        if state.closing or not state.listed or state.settled < state.issued:
            return
        state.closing = True
        self._sequences.pop(state, None)
        if state.sink is None:
            self._tracker.finish(state)
        else:
            end = state.sink.abort if state.error else state.sink.close
            self.closing[state] = TaskGroup(1, functools.partial(self._closed, state), self._inbox)
            self._writer.do(self.closing[state], 0, ENCODING, end)

    def _closed(self, state: InputState, group: TaskGroup) -> None:
        del self.closing[state]
        (outcome,) = group.outcomes
        if isinstance(outcome, ItemFailed):
            state.error = state.error or str(outcome)
            if state.sink is not None:
                state.sink.abort()
        if state.sink is not None:
            state.notes.update(state.sink.notes)
        self._tracker.finish(state)

    def record_quietly(self, places: Sequence[BatchRow], group: TaskGroup) -> None:
        """Record the images of a batch that were completed while the run ended."""
        for place, outcome in zip(places, group.outcomes, strict=True):
            if outcome is True and place.state.sink is None and place.state in self._tracker.unfinished:
                self._tracker.wrote(place.state, tasks.notes_of(place, self._spec))
                self._finish_quietly(place.state)

    def abandon(self) -> None:
        """The run is over: record the videos that were finished meanwhile, and remove what was not."""
        for state, group in self.closing.items():
            if group.settled and not isinstance(group.outcomes[0], Exception):
                self._finish_quietly(state)
        for state in list(self._tracker.unfinished):
            self._tracker.abandon(state)

    def _finish_quietly(self, state: InputState) -> None:
        with contextlib.suppress(P2PError):  # the disk may be what ended the run
            self._tracker.finish(state)
        self._tracker.unfinished.discard(state)
