"""``p2p train``."""

from __future__ import annotations

import dataclasses
import importlib
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._output import cancel_on_ctrl_c, progress_bar, say
from p2p_deploy.errors import require

if TYPE_CHECKING:
    from trainers.loop import TrainingProgress


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Train again in a folder that has a checkpoint.")]
ShowProgress = Annotated[bool | None, typer.Option("--progress/--no-progress", help="Show a bar.")]


class System(StrEnum):
    """What can be trained."""

    pix2pix = "pix2pix"
    cyclegan = "cyclegan"
    pix2pixhd = "pix2pixhd"
    spade = "spade"
    gan = "gan"
    cgan = "cgan"


_OF_THE_RUN = ("system", "data", "run", "resume", "overwrite", "progress")  # every other argument is of the Options


class Direction(StrEnum):
    """Which side of a pair is the input."""

    AtoB = "AtoB"
    BtoA = "BtoA"


class Generator(StrEnum):
    """Which network is trained."""

    unet = "unet"
    unet_upsample = "unet_upsample"
    resnet = "resnet"
    local_enhancer = "local_enhancer"


class Neck(StrEnum):
    """What is between a U-Net's encoder and its decoder."""

    none = "none"
    pan = "pan"


class Upsampling(StrEnum):
    """How often SPADE doubles the size."""

    normal = "normal"
    more = "more"
    most = "most"


class Norm(StrEnum):
    """Of the networks."""

    batch = "batch"
    instance = "instance"
    none = "none"


class Precision(StrEnum):
    """Of the arithmetic."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Curve(StrEnum):
    """Of the learning rate."""

    linear = "linear"
    cosine = "cosine"
    constant = "constant"


class Measure(StrEnum):
    """Of held-out pictures."""

    l1 = "l1"
    psnr = "psnr"
    ssim = "ssim"
    lpips = "lpips"
    fid = "fid"
    kid = "kid"


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
    run: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for ckpt.pt, best.pt, samples and TensorBoard logs.")
    ],
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimisation steps; takes the place of --epochs.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the data.  [default: 200]", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Side of the training crops, pixels; with --width their height.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Pictures per step and device; default: 1, gan and cgan 64.")
    ] = None,
    generator: Annotated[
        Generator | None, typer.Option("--generator", help="pix2pix: unet by default; cyclegan and pix2pixhd: resnet.")
    ] = None,
    ngf: Annotated[
        int | None,
        typer.Option("--ngf", min=1, help="Width of the first layer of the networks; default: as published."),
    ] = None,
    ndf: Annotated[int | None, typer.Option("--ndf", min=1, help="The discriminators' own, where it differs.")] = None,
    num_downs: Annotated[
        int | None, typer.Option("--num-downs", min=5, max=8, help="Depth of a U-Net; default: as the size allows.")
    ] = None,
    n_blocks: Annotated[
        int | None,
        typer.Option("--n-blocks", min=1, help="Residual blocks of a ResNet; default: 9, and 6 below 256 pixels."),
    ] = None,
    dropout: Annotated[bool | None, typer.Option("--dropout/--no-dropout", help="In the generator.")] = None,
    input_channels: Annotated[
        int | None, typer.Option("--input-channels", help="3 for colour inputs, 1 for grey ones.  [default: 3]")
    ] = None,
    direction: Annotated[Direction | None, typer.Option("--direction", help="Which side is the input.")] = None,
    identity: Annotated[
        float | None, typer.Option("--identity", min=0.0, help="cyclegan: weight of the identity loss.  [default: 0.5]")
    ] = None,
    pool: Annotated[
        int | None, typer.Option("--pool", min=0, help="cyclegan: pictures that are remembered.  [default: 50]")
    ] = None,
    neck: Annotated[Neck | None, typer.Option("--neck", help="Between a U-Net's encoder and decoder.")] = None,
    consistency: Annotated[
        float | None,
        typer.Option("--consistency", min=0.0, help="pix2pix, cyclegan: weight of augmentation consistency."),
    ] = None,
    width: Annotated[int | None, typer.Option("--width", help="Of the crops; default: as much as --size.")] = None,
    labels: Annotated[
        int | None,
        typer.Option("--labels", min=0, help="Classes of the maps; 0: pictures instead.  [default: 35]"),
    ] = None,
    instances: Annotated[
        bool | None,
        typer.Option("--instances/--no-instances", help="Take the edges of instance maps."),
    ] = None,
    vgg: Annotated[
        str | None,
        typer.Option("--vgg", metavar="FILE", help="Weights of VGG19, for perceptual loss."),
    ] = None,
    n_downs: Annotated[
        int | None,
        typer.Option("--n-downs", min=1, max=6, help="pix2pixhd: how often size halves.  [default: 4]"),
    ] = None,
    scales: Annotated[
        int | None,
        typer.Option("--scales", min=1, max=4, help="pix2pixhd: discriminators.  [default: 2]"),
    ] = None,
    coarse: Annotated[
        str | None,
        typer.Option("--coarse", metavar="FILE", help="pix2pixhd: what a local_enhancer begins with."),
    ] = None,
    freeze_coarse: Annotated[
        int | None,
        typer.Option("--freeze-coarse", min=0, help="pix2pixhd: epochs it is left.  [default: 10]"),
    ] = None,
    features: Annotated[
        int | None,
        typer.Option("--features", min=0, help="pix2pixhd: channels of the feature encoder."),
    ] = None,
    style: Annotated[
        int | None,
        typer.Option("--style", min=0, help="pix2pixhd: length of a style, for AdaIN."),
    ] = None,
    upsampling: Annotated[
        Upsampling | None,
        typer.Option("--upsampling", help="spade; default: as the size needs."),
    ] = None,
    norm: Annotated[
        Norm | None, typer.Option("--norm", help="pix2pix: of both networks; spade: what is modulated.")
    ] = None,
    z_dim: Annotated[
        int | None, typer.Option("--z-dim", min=0, help="spade: style, such as 256; gan, cgan: latent, 100 by default.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", help="gan, cgan: 1 for grey pictures, 3 for colour.  [default: 1]")
    ] = None,
    schedule: Annotated[
        Curve | None,
        typer.Option("--schedule", help="Of the learning rate; linear falls in the second half.  [default: linear]"),
    ] = None,
    ema: Annotated[
        float | None, typer.Option("--ema", help="Decay of the average of the weights that is deployed, such as 0.999.")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option("--accumulate", min=1, help="Batches whose gradients make one step.  [default: 1]")
    ] = None,
    precision: Annotated[Precision | None, typer.Option("--precision", help="fp16 and bf16 are mixed.")] = None,
    compile_networks: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Translate the networks with torch.compile.")
    ] = None,
    channels_last: Annotated[
        bool | None, typer.Option("--channels-last/--no-channels-last", help="Keep channels innermost.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Of everything random.  [default: 0]")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="auto|cpu|cuda:N", help="auto is a GPU if there is one.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="How many share each step, from --device on.  [default: 1]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that load pictures; default: 4 for a GPU.")
    ] = None,
    save_every: Annotated[
        int | None, typer.Option("--save-every", min=1, help="Steps between checkpoints.  [default: 500]")
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Checkpoints kept in RUN/checkpoints.  [default: 0]")
    ] = None,
    validate_every: Annotated[
        int | None, typer.Option("--validate-every", min=1, help="Steps between samples and measures.  [default: 500]")
    ] = None,
    best: Annotated[
        Measure | None, typer.Option("--best", help="What best.pt is chosen by; default: l1, without pairs fid.")
    ] = None,
    inception: Annotated[
        str | None, typer.Option("--inception", metavar="FILE", help="Weights of Inception-v3, to measure FID and KID.")
    ] = None,
    lpips: Annotated[
        str | None, typer.Option("--lpips", metavar="FILE", help="Weights of VGG16, to measure LPIPS.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from RUN/ckpt.pt, exactly.")] = False,
    overwrite: Overwrite = False,
    progress: ShowProgress = None,
) -> None:
    """Train a network on your own pictures.

    The output folder gets ckpt.pt, which p2p export takes and --resume goes on from, best.pt where there are held-out
    pairs, samples/*.png (inputs, outputs, targets), and logs for TensorBoard.
    """
    arguments = dict(locals())
    for module in ("torch", "lightning_fabric", "tensorboard", "torchmetrics"):
        require(module, "train", "Training")
    trainer = importlib.import_module("trainers.gan" if system is System.cgan else f"trainers.{system.value}")

    arguments["compile"] = arguments.pop("compile_networks")
    arguments["conditional"] = True if system is System.cgan else None
    given = {
        name: getattr(value, "value", value)
        for name, value in arguments.items()
        if value is not None and name not in _OF_THE_RUN
    }
    known = {field.name for field in dataclasses.fields(trainer.Options)}
    for name in given.keys() - known:
        option = "--" + name.replace("_", "-")
        raise typer.BadParameter(f"{system.value} has no such option", param_hint=f"'{option}'")
    options = trainer.Options(**given)
    for notice in options.notices():
        say(notice)
    with cancel_on_ctrl_c() as cancel, progress_bar(progress, system.value) as update:

        def report(now: TrainingProgress) -> None:
            figures = "  ".join(f"{name} {value:.3f}" for name, value in {**now.losses, **now.measures}.items())
            update(now.step, now.steps, f"epoch {now.epoch}  {figures}")
            if now.warning:
                say(now.warning)

        checkpoint = trainer.train(
            data, run, options, overwrite=overwrite, resume=resume, on_progress=report, cancel=cancel
        )
    if int(os.environ.get("LOCAL_RANK", "0")) or int(os.environ.get("GROUP_RANK", "0")):
        return  # the first process of several speaks for all
    print(f"checkpoint: {checkpoint}")
    if cancel.is_set():
        say("stopped; the checkpoint is of the last step. Go on with --resume.")
        raise typer.Exit(130)
    print(f"next: p2p export {checkpoint}")
