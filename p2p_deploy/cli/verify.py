"""``p2p verify``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from p2p_deploy.cli._output import JsonOptions, print_json, quiet_codecs, say
from p2p_deploy.errors import require
from p2p_deploy.options import Assumptions, LoadOptions, Option, Options, VerifyOptions


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """What an artefact is compared with."""

    against: Annotated[Path, Option("The checkpoint it was exported from.")]


def verify(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a TensorRT .plan.")],
    checkpoint: CheckpointOptions,
    options: VerifyOptions,
    assume: Assumptions,
    loading: LoadOptions,
    output: JsonOptions,
) -> None:
    """Compare an exported model with its checkpoint, where it will run.

    The exit code is 1 when it does not give the checkpoint's pictures. Half ONNX files are computed in float32 by ONNX
    Runtime on the CPU; what half does to a network is judged at export, and by running its plan on a GPU.
    """
    for module in ("torch", "skimage"):
        require(module, "export", "Verifying a model")
    quiet_codecs()
    from p2p_deploy.exporter.verify import verify as compare
    from p2p_deploy.runner.models import load

    with load(model, loading, on_step=lambda step: say(f"… {step}")) as loaded:
        report = compare(loaded, checkpoint.against, replace(options, assume=assume))
    if output.as_json:
        print_json(report)
    else:
        print(f"{model} on {report.device}: {report.quality}")
    if not report.same_checkpoint:
        say(f"warning: {model} was not exported from this very file {checkpoint.against}.")
    if report.failure:
        say(f"error: {model} does not give the checkpoint's pictures: {report.failure}. Export it again.")
        raise typer.Exit(1)
