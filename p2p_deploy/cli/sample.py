"""``p2p sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_deploy.cli._output import JsonOptions, ProgressOptions, print_json, progress_bar, quiet_codecs, say
from p2p_deploy.options import LoadOptions, SampleOptions


def sample(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a checkpoint (.pt) or a TensorRT .plan of a GAN.")],
    out: Annotated[Path, typer.Argument(help="The output folder; with --grid the output file, such as samples.png.")],
    options: SampleOptions,
    loading: LoadOptions,
    output: JsonOptions,
    shown: ProgressOptions,
) -> None:
    """Draw pictures with a GAN, from latent vectors of N(0, 1).

    OUT gets 00000.png, 00001.png and so on; with --class all the classes take turns.
    """
    quiet_codecs()
    from p2p_deploy.runner.models import load
    from p2p_deploy.sampling import sample as draw

    with (
        load(model, loading, on_step=lambda step: say(f"… {step}")) as loaded,
        progress_bar(shown.progress, "pictures") as update,
    ):
        report = draw(loaded, out, options, on_progress=lambda done, total: update(done, total, ""))
    if output.as_json:
        print_json(report)
    else:
        rate = f"{report.pictures_per_second:.0f}/s"
        print(f"{report.pictures} pictures in {report.seconds:.1f} s, {rate}: {report.out}")
