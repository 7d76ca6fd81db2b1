"""The command line. Only this package prints and sets exit codes.

Exit codes: 0 all done; 1 some or all of the work failed; 2 arguments that cannot be parsed; 130 after Ctrl-C or
SIGTERM. One file a command; none of them imports a runtime before its command is called, so that ``p2p --help`` is
quick.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from p2p_deploy import __version__
from p2p_deploy.cli import bench, check, demo, doctor, export, info, run, sample, train, verify
from p2p_deploy.cli._command import expanded
from p2p_deploy.cli._output import say, sigterm_as_ctrl_c
from p2p_deploy.errors import P2PError, causes

app = typer.Typer(
    help="Train, export and run pix2pix-family image-to-image networks.",
    rich_markup_mode=None,  # rich would double the start-up time
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
_debug = False


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train, export and run pix2pix-family image-to-image networks."""
    global _debug
    _debug = debug
    if version:
        print(f"p2p-deploy {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the library's exceptions into a sentence and an exit code."""

    @functools.wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        try:
            with sigterm_as_ctrl_c():
                command(*args, **kwargs)
        except BrokenPipeError as exc:  # whoever reads the output, such as head, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest of it goes at exit
            raise typer.Exit(1) from exc
        except (P2PError, KeyboardInterrupt, OSError, MemoryError) as exc:
            # An import that is interrupted says that it failed; what stopped it is only in the chain.
            stop = next((cause for cause in causes(exc) if isinstance(cause, KeyboardInterrupt)), None)
            if stop is not None:
                say(f"stopped by {str(stop) or 'Ctrl-C'}.")
                raise typer.Exit(130) from exc
            if _debug:
                traceback.print_exc()
            say(f"error: {_sentence(exc)}")
            raise typer.Exit(1) from exc

    return run_command


def _sentence(exc: BaseException) -> str:
    if isinstance(exc, MemoryError):
        return "There is not enough memory for this. Take a smaller `batch` or a smaller model."
    if isinstance(exc, OSError):  # the machine's doing, wherever it happened
        place = f"{exc.filename}: " if exc.filename else ""
        return f"{place}{exc.strerror or exc}. (p2p --debug shows where.)"
    return str(exc)


_COMMANDS: dict[str, Callable[..., None]] = {
    "train": train.train,
    "check": check.check,
    "export": export.export,
    "verify": verify.verify,
    "run": run.run,
    "sample": sample.sample,
    "bench": bench.bench,
    "info": info.info,
    "doctor": doctor.doctor,
    "demo": demo.demo,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(guarded(expanded(_name, _command)))


def main() -> None:
    """Entry point of ``p2p``."""
    threading.excepthook = _thread_failed
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show ends nothing
    app()


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """What fails in a thread is raised in the main thread too, and said there."""
    if _debug:
        threading.__excepthook__(args)
