"""``p2p run``."""

from __future__ import annotations

import contextlib
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._models import open_models
from p2p_deploy.cli._options import (
    Json,
    Overwrite,
    ShowProgress,
    TrustPlan,
    cancel_on_ctrl_c,
    parse_count,
    parse_size,
    print_json,
    progress_bar,
    quiet_codecs,
    say,
)
from p2p_deploy.cli._summary import print_summary


class ImageFormat(StrEnum):
    """``--ext``."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"
    avif = "avif"
    same = "same"


class FitChoice(StrEnum):
    """``--fit``."""

    auto = "auto"
    resize = "resize"
    pad = "pad"
    tile = "tile"


if TYPE_CHECKING:
    from p2p_deploy.runner.summary import RunProgress


def run(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a checkpoint (.pt) or a TensorRT .plan.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, a video, a folder of both, or a pattern.")],
    out: Annotated[
        Path, typer.Argument(help="The output folder; for a single input also the output file, such as out.jpg.")
    ],
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="auto, cpu or cuda:N, or several that share the work, such as cuda:0,cuda:1. auto is the CPU, for a "
            ".plan the first GPU. Asked for a GPU that is not there, the command fails; it never falls "
            "back to the CPU.",
            metavar="auto|cpu|cuda:N[,cuda:M]",
        ),
    ] = "auto",
    batch: Annotated[
        str, typer.Option("--batch", metavar="N|auto", help="Images computed at once. auto finds out what is quickest.")
    ] = "auto",
    workers: Annotated[
        str, typer.Option("--workers", metavar="N|auto", help="Threads that decode and encode. auto is one a core.")
    ] = "auto",
    fit: Annotated[
        FitChoice,
        typer.Option(
            "--fit",
            help="How pictures of other sizes go through: resized and back, padded by reflection and cut, or in tiles. "
            "auto resizes for a model of one size, pads for others, and tiles what does not fit into memory.",
        ),
    ] = FitChoice.auto,
    recursive: Annotated[bool, typer.Option("--recursive", help="Descend into sub-folders of IN.")] = False,
    instances: Annotated[
        Path | None,
        typer.Option(
            "--instances",
            metavar="DIR",
            help="For models that take label maps and instances: the folder with the instance map of each label map.",
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build a plan that does not fit this machine again, from its ONNX file.")
    ] = False,
    trust_plan: TrustPlan = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an earlier run: leave out what it has done, redo what has changed."),
    ] = False,
    ext: Annotated[
        ImageFormat, typer.Option("--ext", help="Format of images; same keeps each input's own. Videos keep theirs.")
    ] = ImageFormat.png,
    quality: Annotated[
        int | None, typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF, 1 to 100.")
    ] = None,
    codec: Annotated[
        str | None, typer.Option("--codec", help="Of videos: h264, h265, av1, vp9, prores, ffv1, …", metavar="NAME")
    ] = None,
    crf: Annotated[
        int | None, typer.Option("--crf", min=0, help="Constant rate factor of the codec; smaller is better.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Do only so many inputs, the first ones.")] = None,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Largest picture that is decoded, height times width.")
    ] = 178_956_970,
    raw: Annotated[
        str | None,
        typer.Option(
            "--raw",
            metavar="HxW",
            help="Raw RGB frames of that size: IN and OUT are both -, for standard input and output.",
        ),
    ] = None,
    gallery: Annotated[
        bool, typer.Option("--gallery", help="Write OUT/gallery.html, a page with before and after side by side.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first input that fails.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: ShowProgress = None,
) -> None:
    """Run a model over images and videos.

    Outputs have the size of their inputs. Images become PNG; videos keep their container, frame count, time stamps
    and sound. OUT/p2p-run.jsonl gets a line for each input.
    """
    from p2p_deploy.media import ReadOptions, WriteOptions
    from p2p_deploy.runner.run import run as run_pipeline

    images, threads = parse_count(batch, "--batch"), parse_count(workers, "--workers")
    files_only = {
        "--codec": codec,
        "--crf": crf,
        "--quality": quality,
        "--gallery": gallery,
        "--instances": instances,
        "--json": as_json,
        "--limit": limit,
        "--overwrite": overwrite,
        "--recursive": recursive,
        "--resume": resume,
    }
    frame_size = raw_size(raw, source, out, [option for option, given in files_only.items() if given])
    if gallery:
        refuse_gallery(source, out, replace=overwrite or resume)
    quiet_codecs()
    with (
        open_models(model, device.split(","), rebuild=rebuild, trust_plan=trust_plan) as backends,
        cancel_on_ctrl_c() as cancel,
        progress_bar(progress, "frames") as update,
    ):
        started = time.perf_counter()

        def report(now: RunProgress) -> None:
            rate = now.frames / (time.perf_counter() - started)
            failed = f", {now.failed} failed" if now.failed else ""
            update(now.frames, now.frames_expected, f"{rate:.1f}/s, {now.inputs} of {now.inputs_total} files{failed}")

        summary = run_pipeline(
            backends,
            source,
            out,
            batch=images,
            workers=threads,
            fit=fit.value,
            fail_fast=fail_fast,
            ext=ext.value,
            limit=limit,
            read=ReadOptions(max_pixels=max_pixels, raw=frame_size),
            write=WriteOptions(quality, codec, crf),
            recursive=recursive,
            overwrite=overwrite,
            resume=resume,
            instances=instances,
            on_progress=report,
            cancel=cancel,
        )
    if as_json:
        print_json(summary.to_dict())
    elif frame_size:
        with contextlib.redirect_stdout(sys.stderr):  # standard output has the frames
            print_summary(summary)
    else:
        print_summary(summary)
    if gallery:
        from p2p_deploy.gallery import write_gallery

        say(f"gallery: {write_gallery(source, out, spec=backends[0].spec)}")
    if summary.interrupted:
        say("stopped by Ctrl-C; the rest is untouched. Go on with --resume.")
        raise typer.Exit(130)
    if not summary.complete:
        raise typer.Exit(1)


def raw_size(text: str | None, source: Path, out: Path, given: list[str]) -> tuple[int, int] | None:
    """``--raw`` as (height, width), or None.

    Raises:
        UsageError: IN and OUT do not go with it, or one of the options ``given`` is about files.
    """
    streams = [str(path) for path in (source, out)].count("-")
    if text is None:
        if streams == 2 and not source.exists():
            raise typer.BadParameter(
                "- - stands for raw frames; say how large they are, such as --raw 720x1280", param_hint="IN OUT"
            )
        return None
    size = parse_size(text, "--raw")
    if streams < 2:
        raise typer.BadParameter(
            f"raw frames go from - to -, and IN OUT are {source} {out}. For files, let ffmpeg read or write them",
            param_hint="'--raw'",
        )
    if given:
        raise typer.BadParameter(f"{given[0]} is about files. Leave it out with --raw", param_hint="'--raw'")
    for stream, name in ((sys.stdin, "input"), (sys.stdout, "output")):
        if stream.isatty():
            raise typer.BadParameter(
                f"standard {name} is a terminal; expected a pipe or a file with raw frames", param_hint="'--raw'"
            )
    return size


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
