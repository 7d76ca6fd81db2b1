"""What several commands share: option types, output and progress."""

from __future__ import annotations

import json
import math
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist already.")]
ShowProgress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Show a progress bar. Default: on a terminal.")
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Build a plan that does not fit this machine again, from its ONNX file.")
]
TrustPlan = Annotated[
    bool, typer.Option("--trust-plan", help="Let a version-compatible plan run the CPU code that it carries.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto, cpu or cuda:N. auto is the CPU for .onnx and .pt, the first GPU for .plan. Asked for a GPU that is "
        "not there, the command fails; it never falls back to the CPU.",
        metavar="auto|cpu|cuda:N",
    ),
]


def _decibels(value: float) -> float:
    # NaN compares with nothing, so a bound of the option's type would let it through and the gate would be open.
    if not 0 <= value < math.inf:
        raise typer.BadParameter(f"expected a number of decibels from 0 on, got {value}")
    return value


MinPsnr = Annotated[
    float,
    typer.Option("--min-psnr", help="PSNR in dB that a half precision must reach.", metavar="DB", callback=_decibels),
]


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """``HxW`` in pixels."""
    found = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    if not found:
        raise typer.BadParameter(f"expected HxW in pixels, such as 256x256, got {text!r}", param_hint=f"'{option}'")
    return int(found[1]), int(found[2])


def parse_count(text: str, option: str) -> int | None:
    """A number from 1 on, or None for ``auto``."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise typer.BadParameter(f"expected a number from 1 on, or auto, got {text!r}", param_hint=f"'{option}'")
    return int(text)


def parse_profile(text: str) -> tuple[int, int, int]:
    """``MIN,OPT,MAX`` batch sizes, the value of ``--batch``."""
    found = re.fullmatch(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})", text.replace(" ", ""))
    if not found:
        raise typer.BadParameter(f"expected MIN,OPT,MAX, such as 1,4,16, got {text!r}", param_hint="'--batch'")
    smallest, best, largest = (int(number) for number in found.groups())
    if not 1 <= smallest <= best <= largest:
        raise typer.BadParameter(f"expected 1 <= MIN <= OPT <= MAX, got {text}", param_hint="'--batch'")
    return smallest, best, largest


def print_json(document: Any) -> None:
    """One JSON document on stdout; what JSON has no number for (NaN, infinity) is null."""
    print(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    """A line on stderr, where progress and logs go."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Escape what could confuse a terminal: names of files may hold anything."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


@contextmanager
def progress_bar(show: bool | None, label: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr with the time left; yields ``update(done, total, text)``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[text]}"),
        console=console,
        disable=not (console.is_terminal if show is None else show),
    )
    with bar:
        task = bar.add_task(label, total=None, text="")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM, which ends a container, does what Ctrl-C does at that moment, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        # While a builder works Ctrl-C has a handler of its own; in the background of a script it is ignored.
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, frame)
        else:
            raise KeyboardInterrupt("SIGTERM")

    previous = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def cancel_on_ctrl_c() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that work under way can be finished; the second interrupts at once.

    SIGTERM, which ends a container, is the same.
    """
    cancel = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()
        say("stopping after what is under way; press Ctrl-C again to stop at once.")

    # A script that starts a run in its background has Ctrl-C ignored there: it is meant for what is in front.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, on_signal) for number in heard}
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def quiet_codecs() -> None:
    """Keep OpenCV's own log lines off the terminal; those of the libraries inside it still appear."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
