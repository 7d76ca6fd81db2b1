"""``p2p run``."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._output import (
    JsonOptions,
    ProgressOptions,
    cancel_on_ctrl_c,
    print_json,
    progress_bar,
    quiet_codecs,
    say,
)
from p2p_deploy.cli._summary import print_summary
from p2p_deploy.options import LoadOptions, Option, Options, RunOptions, declared_options

if TYPE_CHECKING:
    from p2p_deploy.runner.summary import RunProgress


# Options of a run that mean something for raw frames.
FOR_FRAMES = ("raw", "batch", "workers", "fit", "fail_fast", "ext", "max_pixels")


@dataclass(frozen=True, kw_only=True)
class GalleryOptions(Options):
    """What is made of the outputs."""

    gallery: Annotated[bool, Option("Write OUT/gallery.html, a page with before and after side by side.")] = False


def run(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a checkpoint (.pt) or a TensorRT .plan.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, a video, a folder of both, or a pattern.")],
    out: Annotated[
        Path, typer.Argument(help="The output folder; for a single input also the output file, such as out.jpg.")
    ],
    loading: LoadOptions,
    options: RunOptions,
    pages: GalleryOptions,
    output: JsonOptions,
    shown: ProgressOptions,
) -> None:
    """Run a model over images and videos.

    Outputs have the size of their inputs. Images become PNG; videos keep their container, frame count, time stamps
    and sound. OUT/p2p-run.jsonl gets a line for each input.
    """
    refuse_streams(source, out, options, [pages, output])
    if pages.gallery:
        refuse_gallery(source, out, replace=options.overwrite or options.resume)
    quiet_codecs()
    from p2p_deploy.runner.models import load_on_each
    from p2p_deploy.runner.run import run as run_model

    with (
        load_on_each(model, loading, on_step=lambda step: say(f"… {step}")) as models,
        cancel_on_ctrl_c() as cancel,
        progress_bar(shown.progress, "frames") as update,
    ):
        started = time.perf_counter()

        def report(now: RunProgress) -> None:
            rate = now.frames / (time.perf_counter() - started)
            failed = f", {now.failed} failed" if now.failed else ""
            update(now.frames, now.frames_expected, f"{rate:.1f}/s, {now.inputs} of {now.inputs_total} files{failed}")

        summary = run_model(models, source, out, options, on_progress=report, cancel=cancel)
    if output.as_json:
        print_json(summary.to_dict())
    else:
        with contextlib.redirect_stdout(sys.stderr if options.raw else sys.stdout):  # standard output has the frames
            print_summary(summary)
    if pages.gallery:
        from p2p_deploy.gallery import write_gallery

        say(f"gallery: {write_gallery(source, out, spec=models[0].spec)}")
    if summary.interrupted:
        say("stopped by Ctrl-C; the rest is untouched. Go on with `resume=True`.")
        raise typer.Exit(130)
    if not summary.complete:
        raise typer.Exit(1)


def refuse_streams(source: Path, out: Path, options: RunOptions, others: list[Options]) -> None:
    """Refuse IN and OUT that do not go with ``options.raw``, and options that are about files beside it.

    Raises:
        BadParameter: one of these.
    """
    streams = [str(path) for path in (source, out)].count("-")
    if options.raw is None:
        if streams == 2 and not source.exists():
            raise typer.BadParameter(
                "- - stands for raw frames; say how large they are, such as --raw 720x1280", param_hint="IN OUT"
            )
        return
    if streams < 2:
        raise typer.BadParameter(
            f"raw frames go from - to -, and IN OUT are {source} {out}. For files, let ffmpeg read or write them",
            param_hint="'--raw'",
        )
    for given in (options, *others):
        default = type(given)()
        for name, declared in declared_options(type(given)).items():
            if name not in FOR_FRAMES and getattr(given, name) != getattr(default, name):
                raise typer.BadParameter(
                    f"--{declared.name} is about files. Leave it out with --raw", param_hint="'--raw'"
                )
    for stream, name in ((sys.stdin, "input"), (sys.stdout, "output")):
        if stream.isatty():
            raise typer.BadParameter(
                f"standard {name} is a terminal; expected a pipe or a file with raw frames", param_hint="'--raw'"
            )


def refuse_gallery(source: Path, out: Path, *, replace: bool) -> None:
    """Refuse before the run what would fail after it.

    Raises:
        OutputError: there is no folder for the page, or it is there already.
    """
    from p2p_deploy.errors import OutputError
    from p2p_deploy.files import refuse_existing
    from p2p_deploy.gallery import GALLERY_NAME
    from p2p_deploy.runner.jobs import is_one_file

    if is_one_file(source, out):
        raise OutputError(f"--gallery makes a page in the output folder, and {out} is a file. Name a folder.")
    refuse_existing([out / GALLERY_NAME], replace)
