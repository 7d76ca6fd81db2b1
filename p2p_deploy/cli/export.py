"""``p2p export``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._output import JsonOptions, ProgressOptions, print_json, progress_bar, quiet_codecs, say
from p2p_deploy.errors import require
from p2p_deploy.options import Assumptions, BuildOptions, ExportOptions, Option, Options

if TYPE_CHECKING:
    from p2p_deploy.exporter.candidates import Candidate
    from p2p_deploy.exporter.report import ExportReport


@dataclass(frozen=True, kw_only=True)
class PlaceOptions(Options):
    """Where the files go."""

    output: Annotated[
        Path | None, Option("The .onnx file to write, or an existing folder. Default: this folder.", short="o")
    ] = None


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of p2p train, or of a program that it knows.")],
    place: PlaceOptions,
    options: ExportOptions,
    build: BuildOptions,
    assume: Assumptions,
    output: JsonOptions,
    shown: ProgressOptions,
) -> None:
    """Export a checkpoint to ONNX and, with --trt, to a TensorRT plan.

    The ONNX file takes and gives frames for any batch size. Everything is compared with the checkpoint on images before
    it gets its name.
    """
    for module in ("torch", "onnx", "onnxscript", "skimage"):
        require(module, "export", "Exporting a checkpoint")
    quiet_codecs()
    from p2p_deploy.exporter.export import export as export_checkpoint

    with progress_bar(shown.progress, "export") as update:
        report = export_checkpoint(
            checkpoint,
            place.output,
            replace(options, build=build, assume=assume),
            on_step=lambda step: say(f"… {step}"),
            on_build=lambda phase, done, total: update(done, total, phase),
        )
    if output.as_json:
        print_json(report)
    else:
        print_report(report)


def print_report(report: ExportReport) -> None:
    """What was written, and how it compares."""
    if report.inferred:
        say(f"recognised: {report.family}; {'; '.join(report.inferred)}")
    for sentence in report.assumed:
        say(f"assumed: {sentence}")
    for warning in report.warnings:
        say(f"warning: {warning}")
    if len(report.tried) > 1:
        print_candidates(report.tried)
    height, width = report.spec.working_size
    size = f"{height}x{width}" if report.spec.fixed_size else f"any multiple of {report.spec.size_multiple} pixels"
    print(f"{report.onnx}  {report.precision.upper()}, {size}, any batch; {report.quality}")
    if report.plan:
        plan = report.plan
        if plan.onnx != report.onnx:
            print(f"{plan.onnx}  {plan.quality}, by emulation")
        print(f"{plan.plan}  {plan.flavour}; {plan.precision}; built, not executed here")
        print(f"{plan.sidecar}")
        for warning in plan.warnings:
            say(f"builder: {warning}")


def print_candidates(tried: tuple[Candidate, ...]) -> None:
    """The table that --precision auto decided from."""
    print(
        f"{'precision':10} {'float32 layers':>15} {'in half':>8} {'PSNR dB':>8} {'max':>4} {'not finite':>10}  verdict"
    )
    for candidate in tried:
        quality = candidate.quality
        psnr, largest, broken = "-", "-", "-"
        if quality:
            psnr, largest, broken = f"{quality.psnr_db:.1f}", str(quality.max_levels), str(quality.non_finite)
        print(
            f"{candidate.precision:10} {len(candidate.fp32_layers):15} {candidate.half_share:8.0%} {psnr:>8} "
            f"{largest:>4} {broken:>10}  {candidate.failure or 'taken'}"
        )
