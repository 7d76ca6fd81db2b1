"""``p2p run``."""

from __future__ import annotations

import time
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
    print_json,
    printable,
    progress_bar,
    quiet_codecs,
    say,
)
from p2p_deploy.errors import ModelFileError, StalePlan

if TYPE_CHECKING:
    from p2p_deploy.backends import Backend
    from p2p_deploy.summary import Progress, RunSummary


def run(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a checkpoint (.pt) or a TensorRT .plan.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image, a video, or a folder of both.")],
    out: Annotated[
        Path, typer.Argument(help="The output folder; for a single input also the output file, such as out.jpg.")
    ],
    device: Device = "auto",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Frames computed at once.")] = 4,
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
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: ShowProgress = None,
) -> None:
    """Run a model over images and videos.

    Frames are resized to the model's size, and outputs back to the source's. Images become PNG; videos keep their
    container, frame count, time stamps and sound. OUT/p2p-run.jsonl gets a line for each input.
    """
    from p2p_deploy.pipeline import run as run_pipeline

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
            batch=batch,
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


def print_summary(summary: RunSummary) -> None:
    """What was done, what was changed on the way, what failed."""
    print(
        f"{summary.done} of {summary.inputs_total} inputs done: {summary.frames} frames in {summary.seconds:.1f} s, "
        f"{summary.frames_per_second:.1f} images/s"
    )
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
