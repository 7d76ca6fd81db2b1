"""``p2p train``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from p2p_deploy.cli._command import OneOf
from p2p_deploy.cli._output import ProgressOptions, cancel_on_ctrl_c, progress_bar, say
from p2p_deploy.options import Option, Options
from trainers.options import SYSTEM_OPTIONS

if TYPE_CHECKING:
    from trainers import TrainingProgress

    System = str
else:
    System = Literal[tuple(SYSTEM_OPTIONS)]


@dataclass(frozen=True, kw_only=True)
class RunFolder(Options):
    """Where a training leaves what it makes."""

    output: Annotated[Path, Option("Folder for ckpt.pt, best.pt, samples and TensorBoard logs.", short="o")]


def train(
    system: Annotated[System, typer.Argument(help="What to train.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="pix2pix: pairs side by side in DATA/train (or DATA itself), or DATA/A/train and DATA/B/train matched "
            "by name; val or test beside train is measured. cyclegan: DATA/trainA and DATA/trainB. pix2pixhd and "
            "spade: DATA/train_label, train_inst and train_img. gan: DATA/train. cgan: DATA/train/CLASS."
        ),
    ],
    folder: RunFolder,
    given: Annotated[dict[str, Any], OneOf(SYSTEM_OPTIONS)],
    shown: ProgressOptions,
) -> None:
    """Train a network on your own pictures.

    The output folder gets ckpt.pt, which p2p export takes and --resume goes on from, best.pt where there are held-out
    pairs, samples/*.png (inputs, outputs, targets), and logs for TensorBoard.
    """
    from trainers import train as train_system

    options = OneOf(SYSTEM_OPTIONS).made(system, given)
    for notice in options.notices():
        say(notice)
    with cancel_on_ctrl_c() as cancel, progress_bar(shown.progress, system) as update:

        def report(now: TrainingProgress) -> None:
            figures = "  ".join(f"{name} {value:.3f}" for name, value in {**now.losses, **now.measures}.items())
            update(now.step, now.steps, f"epoch {now.epoch}  {figures}")
            if now.warning:
                say(now.warning)

        trained = train_system(system, data, folder.output, options, on_progress=report, cancel=cancel)
    if int(os.environ.get("LOCAL_RANK", "0")) or int(os.environ.get("GROUP_RANK", "0")):
        return  # the first process of several speaks for all
    print(f"checkpoint: {trained.checkpoint}")
    if cancel.is_set():
        say("stopped; the checkpoint is of the last step. Go on with --resume.")
        raise typer.Exit(130)
    print(f"next: p2p export {trained.checkpoint}")
