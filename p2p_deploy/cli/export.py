"""``p2p export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._arch import ArchEdges, ArchEncoded, ArchFeatures, ArchLabels, ArchPart, ArchUpsampling, assumptions
from p2p_deploy.cli._options import (
    Json,
    MinPsnr,
    Overwrite,
    ShowProgress,
    parse_profile,
    parse_size,
    print_json,
    progress_bar,
    quiet_codecs,
    say,
)
from p2p_deploy.errors import ExportError, OutputError, require

if TYPE_CHECKING:
    from p2p_deploy.exporter.candidates import Candidate
    from p2p_deploy.exporter.report import ExportReport


class Flavour(StrEnum):
    """Which TensorRT."""

    auto = "auto"
    tensorrt = "tensorrt"
    rtx = "rtx"


class Precision(StrEnum):
    """What a network computes in."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    auto = "auto"


class PixelIO(StrEnum):
    """What an artefact takes and gives."""

    uint8 = "uint8"
    float32 = "float32"


class NormStats(StrEnum):
    """Where BatchNorm takes its statistics from."""

    running = "running"
    instance = "instance"


class Hardware(StrEnum):
    """Which other GPUs a plan has to run on."""

    none = "none"
    ampere_plus = "ampere-plus"
    same_cc = "same-cc"


# Parameters that only say how a plan is built.
PLAN_ONLY = (
    "batch",
    "force",
    "flavour",
    "targets",
    "workspace_gib",
    "optimization_level",
    "timing_cache",
    "version_compatible",
    "hardware_compatible",
)


def export(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint written by p2p train.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The .onnx file to write, or an existing folder. Default: this folder."),
    ] = None,
    trt: Annotated[
        bool,
        typer.Option("--trt", help="Also write STEM.fp16.onnx, the TensorRT plan STEM.plan, and STEM.plan.json."),
    ] = False,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision",
            help="Of the ONNX file, or, with --trt, of the plan. auto takes the first of fp16, fp16 with more float32 "
            "layers, bf16 where tensorrt builds, and fp32 that gives the checkpoint's pictures. Default: fp32, and "
            "fp16 with --trt.",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="HxW",
            help="Height and width in pixels. Default: the training size. With --dynamic repeatable: the plan gets a "
            "profile up to each.",
        ),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Take any height and width that suit the network.")
    ] = False,
    batch: Annotated[
        list[str] | None,
        typer.Option(
            "--batch",
            metavar="MIN,OPT,MAX",
            help="Batch sizes the plan is built for; repeatable, a profile each. Default: 1,4,16.",
        ),
    ] = None,
    norm_stats: Annotated[
        NormStats,
        typer.Option(
            "--norm-stats",
            help="running: BatchNorm uses the statistics of the training. instance: those of each image, as the "
            "reference implementation of pix2pix does when it tests.",
        ),
    ] = NormStats.running,
    io: Annotated[
        PixelIO,
        typer.Option(
            "--io",
            help="What the files take and give. uint8: frames (N, H, W, C). float32: values (N, C, H, W) in the "
            "network's range, which keep the depth of 16-bit images.",
        ),
    ] = PixelIO.uint8,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Folder of images to judge quality on. Default: photographs of ours."),
    ] = None,
    min_psnr: MinPsnr = 40.0,
    force: Annotated[
        bool, typer.Option("--force", help="Write a half plan even when less than 90 % of its work is in half.")
    ] = False,
    flavour: Annotated[
        Flavour,
        typer.Option(
            "--trt-flavour",
            help="auto takes tensorrt where it is installed and there is a GPU, else TensorRT for RTX.",
        ),
    ] = Flavour.auto,
    targets: Annotated[
        str,
        typer.Option("--targets", metavar="smXX,…", help="GPUs a plan for RTX is built for. Default: the builder's."),
    ] = "",
    workspace_gib: Annotated[
        float | None, typer.Option("--workspace-gib", min=0.001, help="GPU memory the builder may plan with, GiB.")
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option("--optimization-level", min=0, max=5, help="How long the builder searches. Default: its own."),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option("--timing-cache", help="Timing cache of tensorrt. Default: one in your cache folder."),
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Make a plan that later versions run too.")
    ] = False,
    hardware_compatible: Annotated[
        Hardware, typer.Option("--hardware-compatible", help="Make a plan that other GPUs run too; slower.")
    ] = Hardware.none,
    arch_part: ArchPart = None,
    arch_labels: ArchLabels = None,
    arch_edges: ArchEdges = None,
    arch_features: ArchFeatures = None,
    arch_encoded: ArchEncoded = None,
    arch_upsampling: ArchUpsampling = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: ShowProgress = None,
) -> None:
    """Export a checkpoint to ONNX and, with --trt, to a TensorRT plan.

    The ONNX file takes and gives frames for any batch size. Everything is compared with the checkpoint on images before
    it gets its name.
    """
    sizes = tuple(parse_size(text) for text in size or ())
    batches = tuple(parse_profile(text) for text in batch or ("1,4,16",))
    if not trt:
        refuse_plan_options(context)
    for module in ("torch", "onnx", "onnxscript", "skimage"):
        require(module, "export", "Exporting a checkpoint")
    quiet_codecs()
    from p2p_deploy.exporter.export import ExportOptions, export_checkpoint
    from p2p_deploy.exporter.tensorrt.options import BuildOptions

    options = ExportOptions(
        sizes=sizes,
        dynamic=dynamic,
        precision=precision.value if precision else None,
        norm_stats=norm_stats.value,
        io=io.value,
        check=check,
        min_psnr=min_psnr,
        trt=trt,
        force=force,
        flavour=flavour.value,
        batches=batches,
        assume=assumptions(arch_part, arch_labels, arch_edges, arch_features, arch_encoded, arch_upsampling),
        build=BuildOptions(
            targets=tuple(name.strip() for name in targets.split(",") if name.strip()),
            workspace_gib=workspace_gib,
            optimization_level=optimization_level,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatible=hardware_compatible.value,
        ),
    )
    with progress_bar(progress, "export") as update:
        report = export_checkpoint(
            checkpoint,
            onnx_path(checkpoint, output),
            options,
            overwrite=overwrite,
            on_step=lambda step: say(f"… {step}"),
            on_build=lambda phase, done, total: update(done, total, phase),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)


def refuse_plan_options(context: typer.Context) -> None:
    """Raise ExportError when options were given that only concern a plan."""
    sources = {name: context.get_parameter_source(name) for name in PLAN_ONLY}
    named = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
    given = [parameter.opts[0] for parameter in context.command.params if parameter.name in named]
    if given:
        concern, them = ("concerns", "it") if len(given) == 1 else ("concern", "them")
        raise ExportError(
            f"{', '.join(given)} only {concern} a plan, and none is built: add --trt or leave {them} out."
        )


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
