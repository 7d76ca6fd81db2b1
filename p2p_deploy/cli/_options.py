"""What several commands share: option types, output and progress."""

from __future__ import annotations

import json
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


def parse_size(text: str) -> tuple[int, int]:
    """``HxW`` in pixels."""
    found = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    if not found:
        raise typer.BadParameter(f"expected HxW in pixels, such as 256x256, got {text!r}")
    return int(found[1]), int(found[2])


def parse_profile(text: str) -> tuple[int, int, int]:
    """``MIN,OPT,MAX`` batch sizes."""
    found = re.fullmatch(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})", text.replace(" ", ""))
    if not found:
        raise typer.BadParameter(f"expected MIN,OPT,MAX, such as 1,4,16, got {text!r}")
    smallest, best, largest = (int(number) for number in found.groups())
    if not 1 <= smallest <= best <= largest:
        raise typer.BadParameter(f"expected 1 <= MIN <= OPT <= MAX, got {text}")
    return smallest, best, largest


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2))


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

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def quiet_codecs() -> None:
    """Keep OpenCV's own log lines off the terminal; those of the libraries inside it still appear."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
