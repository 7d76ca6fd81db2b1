"""``p2p train``."""

from __future__ import annotations

import importlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._options import Overwrite, ShowProgress, cancel_on_ctrl_c, progress_bar, say
from p2p_deploy.errors import require

if TYPE_CHECKING:
    from trainers.loop import Progress


class System(StrEnum):
    """What can be trained."""

    pix2pix = "pix2pix"


class Direction(StrEnum):
    """Which side of a pair is the input."""

    AtoB = "AtoB"
    BtoA = "BtoA"


def train(
    system: Annotated[System, typer.Argument(help="What to train.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Aligned pairs: pictures with A and B side by side in DATA/train (or DATA itself), or DATA/A/train "
            "and DATA/B/train matched by name."
        ),
    ],
    run: Annotated[Path, typer.Option("-o", "--output", help="Folder for ckpt.pt, samples and TensorBoard logs.")],
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimisation steps; takes the place of --epochs.")
    ] = None,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Passes over the data; the learning rate decays in the second half.")
    ] = 200,
    size: Annotated[int, typer.Option("--size", help="Side of the training crops, pixels; a multiple of 32.")] = 256,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures per step.")] = 1,
    ngf: Annotated[int, typer.Option("--ngf", min=1, help="Width of the first layer of both networks.")] = 64,
    input_channels: Annotated[int, typer.Option("--input-channels", help="3 for colour inputs, 1 for grey ones.")] = 3,
    direction: Annotated[Direction, typer.Option("--direction", help="Which side is the input.")] = Direction.AtoB,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of weights, order and augmentation.")] = 0,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda:N", help="auto is a GPU if there is one.")
    ] = "auto",
    overwrite: Overwrite = False,
    progress: ShowProgress = None,
) -> None:
    """Train a network on your own pairs.

    The output folder gets ckpt.pt, which p2p export takes, samples/*.png (input, output, target), and logs for
    TensorBoard.
    """
    for module in ("torch", "lightning_fabric", "tensorboard"):
        require(module, "train", "Training")
    trainer = importlib.import_module(f"trainers.{system.value}")

    options = trainer.Options(
        size=size,
        batch=batch,
        steps=steps,
        epochs=epochs,
        ngf=ngf,
        input_channels=input_channels,
        direction=direction.value,
        seed=seed,
        device=device,
    )
    with cancel_on_ctrl_c() as cancel, progress_bar(progress, system.value) as update:

        def report(now: Progress) -> None:
            losses = "  ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            update(now.step, now.steps, f"epoch {now.epoch}  {losses}")

        checkpoint = trainer.train(data, run, options, overwrite=overwrite, on_progress=report, cancel=cancel)
    print(f"checkpoint: {checkpoint}")
    if cancel.is_set():
        say("stopped by Ctrl-C; the checkpoint is of the last step.")
        raise typer.Exit(130)
    print(f"next: p2p export {checkpoint}")
