"""``p2p export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._options import Json, Overwrite, parse_profile, parse_size, print_json, say
from p2p_deploy.errors import OutputError, require

if TYPE_CHECKING:
    from p2p_deploy.export import ExportReport


class Flavour(StrEnum):
    """Which TensorRT."""

    auto = "auto"
    tensorrt = "tensorrt"
    rtx = "rtx"


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint written by p2p train.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The .onnx file to write, or an existing folder. Default: this folder."),
    ] = None,
    trt: Annotated[
        bool,
        typer.Option("--trt", help="Also write STEM.fp16.onnx, the TensorRT plan STEM.plan, and STEM.plan.json."),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HxW", help="Height and width in pixels. Default: the training size."),
    ] = None,
    batch: Annotated[
        str, typer.Option("--batch", metavar="MIN,OPT,MAX", help="Batch sizes the plan is built for.")
    ] = "1,4,16",
    flavour: Annotated[
        Flavour,
        typer.Option(
            "--trt-flavour",
            help="auto takes tensorrt where it is installed and there is a GPU, else TensorRT for RTX.",
        ),
    ] = Flavour.auto,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Export a checkpoint to ONNX and, with --trt, to a TensorRT plan.

    The ONNX file takes and gives uint8 frames (N, H, W, C) for any N. It is compared with the checkpoint on
    photographs before it gets its name.
    """
    height_width = parse_size(size) if size else None
    profile = parse_profile(batch)
    for module in ("torch", "onnx", "onnxscript"):
        require(module, "export", "Exporting a checkpoint")
    from p2p_deploy.export import export_checkpoint

    report = export_checkpoint(
        checkpoint,
        onnx_path(checkpoint, output),
        size=height_width,
        trt=trt,
        flavour=flavour.value,
        profile=profile,
        overwrite=overwrite,
        on_step=lambda step: say(f"… {step}"),
    )
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)


def onnx_path(checkpoint: Path, output: Path | None) -> Path:
    """The ONNX file that ``--output`` means.

    Raises:
        OutputError: it is neither an existing folder nor a name ending in ``.onnx``.
    """
    if output is None or output.is_dir():
        return (output or Path()) / f"{checkpoint.stem}.onnx"
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"{output} is neither an existing folder nor a file name ending in .onnx.")
    return output


def print_report(report: ExportReport) -> None:
    """What was written, and how it compares."""
    height, width = report.spec.working_size
    for warning in report.warnings:
        say(f"warning: {warning}")
    print(f"{report.onnx}  FP32, {height}x{width}, any batch; {report.comparison}")
    if report.plan:
        plan = report.plan
        print(f"{plan.onnx}  FP16; {plan.comparison}, computed in float32 by ONNX Runtime")
        print(f"{plan.plan}  {plan.flavour}; {plan.precision}; built, not executed here")
        print(f"{plan.sidecar}")
        for warning in plan.warnings:
            say(f"builder: {warning}")
