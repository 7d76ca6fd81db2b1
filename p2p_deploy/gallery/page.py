"""The page itself: what is in ``page.html``, ``page.css`` and ``page.js``, filled in.

Names of files and sentences about them may hold anything. They are put into the page as text only; no script is made of
them, and the page's policy lets the browser run only the one script, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from pathlib import Path
from string import Template
from typing import Any

from p2p_deploy.gallery.account import Account, Entry, whole_number
from p2p_deploy.gallery.pairs import Pair

_HERE = Path(__file__).parent


def render(account: Account, pairs: list[Pair], folder: Path, model: str | None) -> str:
    """The page as text that is UTF-8.

    Args:
        account: what the record says.
        pairs: what is shown, in this order.
        folder: the output folder, whose name is on the page.
        model: the model's name, if known.
    """
    style, script = (_HERE.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Template(_HERE.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        folder=_text(folder.absolute().name),
        lead=_lead(account, pairs, model),
        figures="".join(_figure(*figure) for figure in _figures(account)),
        details=_changes(account.summary) + "".join(_bars(*found) for found in _times(account.summary)),
        cards="\n".join(_card(pair) for pair in pairs),
        failures=_failures(account),
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(text: str) -> str:
    """Text for anywhere in the page; what cannot be seen, or is no character, as Python would write it."""
    return html.escape("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text))


def _lead(account: Account, pairs: list[Pair], model: str | None) -> str:
    """Which model, which pictures, and where the failures are."""
    total, sample = account.total, len(account.sample)
    sentences = [f"<strong>{_text(model)}</strong>."] if model else []
    if sample < total:
        sentences.append(f"Shown are {len(pairs)} of {total:,} outputs, evenly spaced through the run.")
    else:
        sentences.append(f"{len(pairs)} output{'s' * (len(pairs) != 1)}.")
    if len(pairs) < sample:
        sentences.append(f"{sample - len(pairs)} cannot be read any more.")
    if account.bad:
        sentences.append(f'<a href="#failures">{account.bad_total:,} failed or incomplete</a>.')
    if pairs:
        sentences.append("Left of each line is the input, right of it the output.")
    return " ".join(sentences)


def _figures(account: Account) -> list[tuple[str, str]]:
    """(what, how much) of the summary, for those that are there."""
    summary = account.summary
    figures = []
    total = whole_number(summary.get("inputs_total"))
    if total:
        done = whole_number(summary.get("done")) + whole_number(summary.get("skipped"))
        figures.append(("inputs done", f"{done:,}" if done == total else f"{done:,} of {total:,}"))
    rate, seconds = (_number(summary.get(key)) for key in ("frames_per_second", "seconds"))
    if rate:
        figures.append(("images a second", f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"))
    if seconds:
        figures.append(("wall time", _duration(seconds)))
    size = summary.get("model_size")
    if isinstance(size, list) and len(size) == 2 and all(map(whole_number, size)):
        figures.append(("model size", f"{size[0]} × {size[1]}"))
    return figures


def _figure(name: str, value: str) -> str:
    return f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"


def _number(value: Any) -> float | None:
    """``value`` if it is a finite number from 0 on."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    return float(value) if usable else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _changes(summary: dict[str, Any]) -> str:
    """What happened to inputs on the way, and to how many."""
    notes = summary.get("notes")
    counts = {note: whole_number(count) for note, count in notes.items()} if isinstance(notes, dict) else {}
    rows = "".join(f"<li><b>{count:,}</b> {_text(note)}</li>" for note, count in sorted(counts.items()) if count)
    return f'<section class="changes"><h2>Changed on the way</h2><ul>{rows}</ul></section>' if rows else ""


def _times(summary: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Where the time went, as far as the summary tells: whatever in it is a table of numbers beside the notes."""
    tables = []
    for key, table in summary.items():
        if key != "notes" and isinstance(table, dict):
            numbers = {name: number for name, value in table.items() if (number := _number(value)) is not None}
            if any(numbers.values()):
                tables.append((key.replace("_", " "), numbers))
    return tables


def _bars(title: str, numbers: dict[str, float]) -> str:
    longest = max(numbers.values())
    rows = "".join(
        f'<li><span>{_text(name.replace("_", " "))}</span><svg viewBox="0 0 100 1" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect width="{100 * number / longest:.2f}" height="1"/></svg><b>{number:.3g}</b></li>'
        for name, number in numbers.items()
    )
    return f'<section class="bars"><h2>{_text(title)}</h2><ul>{rows}</ul></section>'


def _card(pair: Pair) -> str:
    entry = pair.entry
    name, facts = _text(entry.name), _text(_facts(pair))
    notes = list(entry.notes)
    if pair.before is None:
        notes.insert(0, "the input cannot be read any more: output only")
    if entry.error:
        notes.insert(0, entry.error)
    clip = '<span class="badge">clip</span>' if pair.seconds is not None else ""
    split = '<span class="split"></span>' if pair.before is not None else ""
    alternative = f"{name}: the left half before, the right half after" if pair.before is not None else name
    before = f' data-before="{pair.before}"' if pair.before is not None else ""
    return (
        f'<li><figure><button type="button" aria-haspopup="dialog" data-width="{pair.size[1]}" '
        f'data-height="{pair.size[0]}" data-notes="{_text(" · ".join(notes))}"{before} data-after="{pair.after}">'
        f'<img src="{pair.thumbnail}" alt="{alternative}">{split}{clip}</button>'
        f'<figcaption><b title="{name}">{name}</b><span>{facts}</span></figcaption></figure></li>'
    )


def _facts(pair: Pair) -> str:
    height, width = pair.size
    facts = f"{width} × {height}"
    if pair.seconds is not None:
        facts += f" · {pair.entry.frames:,} frames, at {_duration(pair.seconds)}"
    return facts


def _failures(account: Account) -> str:
    if not account.bad:
        return ""
    rows = "".join(_failure(entry) for entry in account.bad)
    more = account.bad_total - len(account.bad)
    rest = f"<p>And {more:,} more, which are in the record.</p>" if more else ""
    return (
        f'<section class="failures" id="failures"><h2>Failed or incomplete <span>{account.bad_total:,}</span></h2>'
        f"<ul>{rows}</ul>{rest}</section>"
    )


def _failure(entry: Entry) -> str:
    status = "incomplete" if entry.status == "partial" else entry.status
    reason = entry.error or "No reason is recorded."
    return f"<li><b>{_text(entry.name)}</b><i>{_text(status)}</i><p>{_text(reason)}</p></li>"
