"""``p2p sample``."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from p2p_deploy.cli._models import open_model
from p2p_deploy.cli._options import (
    Device,
    Json,
    Overwrite,
    Rebuild,
    ShowProgress,
    TrustPlan,
    print_json,
    progress_bar,
    quiet_codecs,
)


def sample(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a checkpoint (.pt) or a TensorRT .plan of a GAN.")],
    out: Annotated[Path, typer.Argument(help="The output folder; with --grid the output file, such as samples.png.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many pictures.")] = 64,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the latent vectors; the same one gives the same pictures.")
    ] = 0,
    label: Annotated[
        str,
        typer.Option("--class", metavar="K|all", help="Which class, from 0, of a network that has classes; or all."),
    ] = "all",
    grid: Annotated[bool, typer.Option("--grid", help="Write one picture of all of them.")] = False,
    device: Device = "auto",
    rebuild: Rebuild = False,
    trust_plan: TrustPlan = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    progress: ShowProgress = None,
) -> None:
    """Draw pictures with a GAN, from latent vectors of N(0, 1).

    OUT gets 00000.png, 00001.png and so on; with --class all the classes take turns.
    """
    if label != "all" and not re.fullmatch("[0-9]{1,9}", label):
        raise typer.BadParameter(f"expected the number of a class, or all, got {label!r}", param_hint="'--class'")
    quiet_codecs()
    from p2p_deploy.sampling import sample_files, sample_grid

    write = sample_grid if grid else sample_files
    with (
        open_model(model, device, rebuild=rebuild, trust_plan=trust_plan) as backend,
        progress_bar(progress, "pictures") as update,
    ):
        started = time.perf_counter()
        write(
            backend,
            out,
            count,
            seed=seed,
            label=None if label == "all" else int(label),
            overwrite=overwrite,
            on_progress=lambda done, total: update(done, total, ""),
        )
        seconds = time.perf_counter() - started
        facts = {
            "out": str(out),
            "pictures": count,
            "size": list(backend.size),
            "seed": seed,
            "class": label if label == "all" else int(label),
            "device": backend.device,
            "seconds": seconds,
            "pictures_per_second": count / seconds,
        }
    if as_json:
        print_json(facts)
    else:
        print(f"{count} pictures in {seconds:.1f} s, {count / seconds:.0f}/s: {out}")
