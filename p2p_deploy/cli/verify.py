"""``p2p verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2p_deploy.cli._arch import ArchEdges, ArchEncoded, ArchFeatures, ArchLabels, ArchPart, ArchUpsampling, assumptions
from p2p_deploy.cli._models import open_model
from p2p_deploy.cli._options import Device, Json, MinPsnr, Overwrite, TrustPlan, print_json, quiet_codecs, say
from p2p_deploy.errors import ModelFileError, require
from p2p_deploy.files import parents_made, refuse_existing, replacing

if TYPE_CHECKING:
    from p2p_deploy.backends import Model

BATCHES = (1, 4, 8)
SECONDS = 3.0  # of measuring, for each


def verify(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a TensorRT .plan.")],
    against: Annotated[Path, typer.Option("--against", help="The checkpoint it was exported from.")],
    device: Device = "auto",
    check: Annotated[
        Path | None, typer.Option("--check", help="Folder of images to judge on. Default: photographs of ours.")
    ] = None,
    min_psnr: MinPsnr = 40.0,
    gpu_report: Annotated[
        Path | None,
        typer.Option("--gpu-report", help="JSON file to write with GPU, versions, quality and latency of this run."),
    ] = None,
    arch_part: ArchPart = None,
    arch_labels: ArchLabels = None,
    arch_edges: ArchEdges = None,
    arch_features: ArchFeatures = None,
    arch_encoded: ArchEncoded = None,
    arch_upsampling: ArchUpsampling = None,
    trust_plan: TrustPlan = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Hold an exported model against its checkpoint, where it will run.

    The exit code is 1 when it does not give the checkpoint's pictures. Half ONNX files are computed in float32 by ONNX
    Runtime on the CPU; what half does to a network is judged at export, and by running its plan on a GPU.
    """
    refuse_checkpoint(model)
    for module in ("torch", "skimage"):
        require(module, "export", "Verifying a model")
    quiet_codecs()
    if gpu_report:
        refuse_existing([gpu_report], overwrite=overwrite)
    from p2p_deploy.exporter.verify import verify_model

    with open_model(model, device, trust_plan=trust_plan) as backend:
        assume = assumptions(arch_part, arch_labels, arch_edges, arch_features, arch_encoded, arch_upsampling)
        found = verify_model(backend, against, check=check, min_psnr=min_psnr, assume=assume)
        report = {"model": str(model), "device": backend.device, **found.to_dict()}
        if gpu_report:
            with parents_made(gpu_report), replacing(gpu_report) as temporary:
                temporary.write_text(json.dumps({**report, **_measure(backend)}, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(report)
    else:
        print(f"{model} on {report['device']}: {found.quality}")
        if gpu_report:
            print(f"written: {gpu_report}")
    if not found.same_checkpoint:
        say(f"warning: {model} was not exported from this very file {against}.")
    if found.failure:
        say(f"error: {model} does not give the checkpoint's pictures: {found.failure}. Export it again.")
        raise typer.Exit(1)


def refuse_checkpoint(model: Path) -> None:
    """Raise ModelFileError for a checkpoint, which would be held against itself."""
    from p2p_deploy.backends import BACKENDS

    if BACKENDS.get(model.suffix.lower(), ("",))[0] == "torch":
        raise ModelFileError(
            f"{model} is a checkpoint itself. Verify an .onnx file or .plan that was exported from it."
        )


def _measure(backend: Model) -> dict[str, Any]:
    """What has to be known of a first run on someone's GPU."""
    from p2p_deploy.benchmark import bench_model, describe_machine
    from p2p_deploy.errors import Failed

    latency = []
    for batch in BATCHES:
        try:
            latency.append(bench_model(backend, batch, warmup_ms=500, duration_s=SECONDS))
        except Failed as exc:  # a plan may not take that many at once
            latency.append({"batch": batch, "failure": str(exc)})
    return {"machine": describe_machine(), "spec": backend.spec.to_dict(), "latency": latency}
