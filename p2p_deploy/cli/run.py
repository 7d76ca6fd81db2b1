"""``p2p run``."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._options import (
    Device,
    Json,
    Overwrite,
    ShowProgress,
    TrustPlan,
    cancel_on_ctrl_c,
    parse_count,
    print_json,
    printable,
    progress_bar,
    quiet_codecs,
    say,
)
from p2p_deploy.errors import ModelFileError, StalePlan


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
    from p2p_deploy.backends import Backend
    from p2p_deploy.summary import Progress, RunSummary


def run(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a checkpoint (.pt) or a TensorRT .plan.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, a video, a folder of both, or a pattern.")],
    out: Annotated[
        Path, typer.Argument(help="The output folder; for a single input also the output file, such as out.jpg.")
    ],
    device: Device = "auto",
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
    from p2p_deploy.pipeline import run as run_pipeline

    images, threads = parse_count(batch, "--batch"), parse_count(workers, "--workers")
    quiet_codecs()
    with (
        open_model(model, device, rebuild=rebuild, trust_plan=trust_plan) as backend,
        cancel_on_ctrl_c() as cancel,
        progress_bar(progress, "frames") as update,
    ):
        started = time.perf_counter()

        def report(now: Progress) -> None:
            rate = now.frames / (time.perf_counter() - started)
            failed = f", {now.failed} failed" if now.failed else ""
            update(now.frames, now.frames_expected, f"{rate:.1f}/s, {now.inputs} of {now.inputs_total} files{failed}")

        summary = run_pipeline(
            backend,
            source,
            out,
            batch=images,
            workers=threads,
            fit=fit.value,
            fail_fast=fail_fast,
            ext=ext.value,
            limit=limit,
            read=ReadOptions(max_pixels=max_pixels),
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
    else:
        print_summary(summary)
    if summary.interrupted:
        say("stopped by Ctrl-C; the rest is untouched. Go on with --resume.")
        raise typer.Exit(130)
    if not summary.complete:
        raise typer.Exit(1)


def is_plan(path: Path) -> bool:
    """Whether a model is a TensorRT plan by its suffix."""
    from p2p_deploy.backends import BACKENDS

    return BACKENDS.get(path.suffix.lower(), ("",))[0] == "tensorrt"


def open_model(path: Path, device: str, *, rebuild: bool = False, trust_plan: bool = False) -> Backend:
    """Open a model; with ``rebuild``, a plan that does not fit is first built again.

    Raises:
        ModelFileError: an option for plans was given for another model; and whatever opening raises.
    """
    from p2p_deploy.backends import load

    if not is_plan(path):
        for option, given in (("--rebuild", rebuild), ("--trust-plan", trust_plan)):
            if given:
                raise ModelFileError(f"{option} is for TensorRT plans, and {path} is none. Leave it out.")
        return load(path, device=device)
    try:
        return load(path, device=device, trust_plan=trust_plan)
    except StalePlan as exc:
        if not rebuild:
            raise
        from p2p_deploy.backends.preflight import device_index, require_trust
        from p2p_deploy.export.rebuild import rebuild_plan
        from p2p_deploy.sidecar import read_sidecar

        say(f"… {exc}")
        require_trust(path, read_sidecar(path), trust_plan)  # the new plan would carry code too, and be refused
        rebuild_plan(path, on_step=lambda step: say(f"… {step}"), device=device_index(device))
        return load(path, device=device, trust_plan=trust_plan)


def where_time_went(summary: RunSummary) -> list[str]:
    """How busy each stage was, and what would make the run quicker."""
    if not summary.frames:
        return []
    images, reading, writing = (summary.codec_seconds[name] for name in ("images", "video in", "video out"))
    busy = {
        "the network": max(summary.infer_seconds) / summary.seconds,
        "decoding and encoding images": sum(images.values()) / summary.workers / summary.seconds,
        "decoding video": sum(reading.values()) / summary.seconds,
        "encoding video": sum(writing.values()) / summary.seconds,
    }
    advice = {
        "the network": "A GPU, half precision or more of --device makes this run quicker",
        "decoding and encoding images": "More cores, or more --workers where the disk is slow, make this run quicker",
        "decoding video": "Several clips at once, in runs of their own, make use of the other cores",
        "encoding video": "Several clips at once, in runs of their own, make use of the other cores",
    }
    shares = ", ".join(f"{name} {share:.0%}" for name, share in busy.items() if share >= 0.005)
    most = max(busy, key=lambda name: busy[name])
    return [
        f"busy: {shares} of the time; batches of {summary.batch}, {summary.workers} codec threads",
        f"{advice[most]}."
        if busy[most] > 0.7
        else "No stage is busy all the time: the disk may be what is waited for.",
    ]


def print_summary(summary: RunSummary) -> None:
    """What was done, what was changed on the way, what failed."""
    print(
        f"{summary.done} of {summary.inputs_total} inputs done: {summary.frames} frames in {summary.seconds:.1f} s, "
        f"{summary.frames_per_second:.1f} images/s"
    )
    for line in where_time_went(summary):
        print(f"  {line}")
    for note, count in sorted(summary.notes.items()):
        print(f"  {count} {note}")
    if summary.skipped:
        print(f"  {summary.skipped} done by an earlier run")
    if summary.ignored:
        print(f"  {summary.ignored} files of other kinds ignored")
    for label, count in (("incomplete", summary.partial), ("failed", summary.failed)):
        if count:
            print(f"  {count} {label}:")
    for name, sentence in summary.errors:
        print(printable(f"    {name}: {sentence}"))
    if summary.record:
        print(f"record: {summary.record}")
