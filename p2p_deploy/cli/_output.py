"""What several commands share: output, progress, and being stopped."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any

from p2p_deploy.cli._command import in_flags
from p2p_deploy.options import Option, Options
from p2p_deploy.reports import plain


@dataclass(frozen=True, kw_only=True)
class JsonOptions(Options):
    """What is printed."""

    as_json: Annotated[bool, Option("Print one JSON document on stdout, and nothing else there.", name="json")] = False


@dataclass(frozen=True, kw_only=True)
class ProgressOptions(Options):
    """What is shown meanwhile."""

    progress: Annotated[bool | None, Option("Show a progress bar. Default: on a terminal.")] = None


def print_json(document: Any) -> None:
    """One JSON document on stdout; what JSON has no number for (NaN, infinity) is null."""
    print(json.dumps(plain(document), indent=2, allow_nan=False))


def say(text: str) -> None:
    """A line on stderr, where progress and logs go."""
    print(printable(in_flags(text)), file=sys.stderr, flush=True)


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
