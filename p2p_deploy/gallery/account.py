"""What the page tells about a run, read from its record in memory that does not grow with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_deploy.errors import InputError
from p2p_deploy.runner.record import parsed, read_lines
from p2p_deploy.runner.tracker import MAX_ERRORS_KEPT

_SUMMARY = b'{"summary"'


@dataclass(frozen=True, slots=True)
class Entry:
    """What the record says of an input, as far as the page shows it; see ``Tracker`` for the meanings."""

    name: str
    status: str
    output: str | None
    frames: int
    notes: tuple[str, ...]
    error: str | None


@dataclass(slots=True)
class Account:
    """What became of the inputs.

    Attributes:
        sample: inputs with an output, evenly spaced through the record, in order of name.
        total: how many inputs have an output.
        bad: the first hundred inputs without a whole output.
        bad_total: how many there are.
        summary: the line at the end of the run, with whichever keys it has; empty when the run ended without one.
    """

    sample: list[Entry]
    total: int
    bad: list[Entry]
    bad_total: int
    summary: dict[str, Any]


def read_account(record: Path, limit: int) -> Account:
    """Read what a record says of the last run, and of those that it went on with.

    The last line about an input counts.

    Raises:
        InputError: it cannot be read.
    """
    sample = _Spread(limit)
    bad: dict[str, Entry] = {}
    try:
        start, summary = _last_run(read_lines(record))
        for text in itertools.islice(read_lines(record), start, None):
            entry = _entry(parsed(text))
            if entry is None:
                continue
            if entry.output is not None:
                sample.add(entry)
            else:
                sample.remove(entry)
            if entry.status == "done":
                bad.pop(entry.name, None)
            elif entry.name in bad or len(bad) < MAX_ERRORS_KEPT:
                bad[entry.name] = entry
    except OSError as exc:
        raise InputError(
            f"{record} cannot be read: {exc.strerror or exc}. The gallery is made from the record of a run: name the "
            "output folder of one."
        ) from exc
    chosen = sample.chosen()
    counted = sum(whole_number(summary.get(key)) for key in ("done", "partial", "skipped"))
    failures = sum(whole_number(summary.get(key)) for key in ("failed", "partial"))
    return Account(
        sorted(chosen, key=lambda entry: entry.name),
        max(counted if summary else sample.seen, len(chosen)),
        list(bad.values()),
        max(failures, len(bad)),
        summary,
    )


def whole_number(value: Any) -> int:
    """``value`` if it is a count, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _last_run(lines: Iterable[bytes]) -> tuple[int, dict[str, Any]]:
    """How many lines there are before those about the last run, and the summary that ends it.

    A run that found nothing done owes nothing to the lines before its own: they may be about other inputs.
    """
    start = after = 0
    summary: dict[str, Any] = {}
    for number, text in enumerate(lines, 1):
        found = parsed(text).get("summary") if text.startswith(_SUMMARY) else None
        summary = found if isinstance(found, dict) else {}
        if summary:
            if not summary.get("skipped"):
                start = after
            after = number
    return start, summary


def _entry(line: dict[str, Any]) -> Entry | None:
    name, status, output, error = (line.get(key) for key in ("input", "status", "output", "error"))
    if not isinstance(name, str) or not isinstance(status, str):
        return None
    notes = line.get("notes")
    return Entry(
        name,
        status,
        output if isinstance(output, str) else None,
        whole_number(line.get("frames")),
        tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, list) else (),
        error if isinstance(error, str) else None,
    )


@dataclass(slots=True)
class _Spread:
    """Evenly spaced entries out of however many there will be: of the names met, every ``stride``-th is kept.

    Attributes:
        limit: how many are chosen in the end; up to twice as many are kept.
        seen: entries met that were not about a name that is kept.
    """

    limit: int
    seen: int = 0
    stride: int = 1
    kept: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        if entry.name in self.kept:
            self.kept[entry.name] = entry
            return
        if self.seen % self.stride == 0:
            self.kept[entry.name] = entry
            if len(self.kept) > 2 * self.limit:
                self.kept = dict(list(self.kept.items())[::2])
                self.stride *= 2
        self.seen += 1

    def remove(self, entry: Entry) -> None:
        self.kept.pop(entry.name, None)

    def chosen(self) -> list[Entry]:
        entries = list(self.kept.values())
        count = min(self.limit, len(entries))
        return [entries[index * len(entries) // count] for index in range(count)]
