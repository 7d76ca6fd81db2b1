"""``p2p verify``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2p_deploy.cli._output import JsonOptions, print_json, quiet_codecs, say
from p2p_deploy.errors import require
from p2p_deploy.files import parents_made, refuse_existing, replacing
from p2p_deploy.options import Assumptions, LoadOptions, Option, Options, Overwrite, VerifyOptions

if TYPE_CHECKING:
    from p2p_deploy.backends import Model

BATCHES = (1, 4, 8)
SECONDS = 3.0  # of measuring, for each


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """What an artefact is compared with."""

    against: Annotated[Path, Option("The checkpoint it was exported from.")]


@dataclass(frozen=True, kw_only=True)
class GpuReportOptions(Options):
    """What is written of a run on a GPU."""

    gpu_report: Annotated[
        Path | None, Option("JSON file to write with machine, versions, quality and latency of this run.")
    ] = None
    overwrite: Overwrite = False


def verify(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a TensorRT .plan.")],
    checkpoint: CheckpointOptions,
    options: VerifyOptions,
    assume: Assumptions,
    loading: LoadOptions,
    written: GpuReportOptions,
    output: JsonOptions,
) -> None:
    """Compare an exported model with its checkpoint, where it will run.

    The exit code is 1 when it does not give the checkpoint's pictures. Half ONNX files are computed in float32 by ONNX
    Runtime on the CPU; what half does to a network is judged at export, and by running its plan on a GPU.
    """
    for module in ("torch", "skimage"):
        require(module, "export", "Verifying a model")
    quiet_codecs()
    if written.gpu_report:
        refuse_existing([written.gpu_report], overwrite=written.overwrite)
    from p2p_deploy.exporter.verify import verify as compare
    from p2p_deploy.runner.models import load

    with load(model, loading, on_step=lambda step: say(f"… {step}")) as loaded:
        report = compare(loaded, checkpoint.against, replace(options, assume=assume))
        if written.gpu_report:
            with parents_made(written.gpu_report), replacing(written.gpu_report) as temporary:
                whole = {**report.to_dict(), **_measure(loaded)}
                temporary.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    if output.as_json:
        print_json(report)
    else:
        print(f"{model} on {report.device}: {report.quality}")
        if written.gpu_report:
            print(f"written: {written.gpu_report}")
    if not report.same_checkpoint:
        say(f"warning: {model} was not exported from this very file {checkpoint.against}.")
    if report.failure:
        say(f"error: {model} does not give the checkpoint's pictures: {report.failure}. Export it again.")
        raise typer.Exit(1)


def _measure(model: Model) -> dict[str, Any]:
    """What has to be known of a first run on someone's GPU."""
    from p2p_deploy.benchmark import bench_batch, describe_machine
    from p2p_deploy.errors import Failed

    latency = []
    for batch in BATCHES:
        try:
            latency.append(bench_batch(model, batch, warmup_ms=500, duration_s=SECONDS).to_dict())
        except Failed as exc:  # a plan may not take that many at once
            latency.append({"batch": batch, "failure": str(exc)})
    return {"machine": describe_machine(), "spec": model.spec.to_dict(), "latency": latency}
