"""Generators of the PyTorch-GAN collection.

pix2pix (``generator_199.pth``): ``down1`` to ``down8`` and ``up1`` to ``up7`` with a convolution at ``model.0`` and a
norm at ``model.1``, and ``final.2``. CycleGAN (``G_AB_199.pth``): one Sequential as in the ResNet layout, but residual
blocks are called ``block``, and each up is four layers: nearest neighbours, convolution, norm, ReLU.
"""

from __future__ import annotations

import re

from p2p_deploy.checkpoints.detection import Detection, Layers, Shapes, at_least, image_of
from p2p_deploy.checkpoints.resnet import downs_before
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions


def detect_unet(shapes: Shapes, assume: Assumptions) -> Detection | None:
    """Recognise the U-Net of its pix2pix; None for anything else."""
    if not any(key.startswith("down") for key in shapes) or not any(key.startswith("final.2.") for key in shapes):
        return None
    layers = Layers(shapes)
    levels = range(1, 13)
    num_downs = max((level for level in levels if any(key.startswith(f"down{level}.") for key in shapes)), default=0)
    for level in range(num_downs):
        layers.conv(f"down{level + 1}.model.0", f"downs.{level}.conv")
        layers.norm(f"down{level + 1}.model.1", f"downs.{level}.norm")
    for level in range(num_downs - 1):
        theirs = f"up{num_downs - 1 - level}.model"
        layers.conv(f"{theirs}.0", f"ups.{level}.conv")
        layers.norm(f"{theirs}.1", f"ups.{level}.norm")
    layers.conv("final.2", "head.conv")
    ngf, in_channels, *_ = layers.weight("down1.model.0")
    out_channels = layers.weight("final.2")[0]
    norm = "batch" if "down2.model.1.weight" in shapes else "instance"
    return Detection(
        family="the U-Net of PyTorch-GAN's pix2pix",
        arch="unet_upsample",
        arch_kwargs={
            "in_channels": in_channels,
            "out_channels": out_channels,
            "num_downs": num_downs,
            "ngf": ngf,
            "norm": norm,
        },
        layers=layers,
        inputs=(image_of(in_channels, "input"),),
        output=image_of(out_channels, "output"),
        train_size=at_least((256, 256), 2**num_downs),
        inferred=(f"{num_downs} downs, ngf {ngf}, {norm} norm",),
        assumed=(
            "InstanceNorm, which has no keys, is the published choice"
            if norm == "instance"
            else "BatchNorm has an eps of 1e-5; the published network has InstanceNorm, and some forks another eps",
        ),
    )


def detect_resnet(shapes: Shapes, assume: Assumptions) -> Detection | None:
    """Recognise the ResNet of its CycleGAN; None for anything else."""
    pattern = re.compile(r"model\.(\d{1,4})\.block\.1\.weight")
    blocks = sorted(int(match[1]) for key in shapes if (match := pattern.fullmatch(key)))
    if not blocks:
        return None
    if blocks != list(range(blocks[0], blocks[0] + len(blocks))):
        raise CheckpointError(f"residual blocks are at model.{blocks}; expected one after the other.")
    layers = Layers(shapes)
    n_downs, n_blocks = downs_before(blocks), len(blocks)
    places = [("head", 1), *((f"downs.{level}", 4 + 3 * level) for level in range(n_downs))]
    places += [(f"ups.{level}", blocks[0] + n_blocks + 4 * level + 1) for level in range(n_downs)]
    for ours, index in places:
        layers.conv(f"model.{index}", f"{ours}.conv")
        layers.norm(f"model.{index + 1}", f"{ours}.norm")
    for number, index in enumerate(blocks):
        for place, name in ((1, "first"), (5, "second")):
            layers.conv(f"model.{index}.block.{place}", f"blocks.{number}.{name}.conv")
            layers.norm(f"model.{index}.block.{place + 1}", f"blocks.{number}.{name}.norm")
    tail = f"model.{blocks[0] + n_blocks + 4 * n_downs + 1}"
    layers.conv(tail, "tail.conv")
    ngf, in_channels, *_ = layers.weight("model.1")
    out_channels = layers.weight(tail)[0]
    if in_channels != 3 or out_channels != 3:
        raise CheckpointError(
            f"the ResNet of PyTorch-GAN pads by as many pixels as it has channels ({in_channels} to {out_channels} "
            "here), so with other than 3 its output has another size than its input, and it was refused."
        )
    norm = "batch" if "model.2.weight" in shapes else "instance"
    return Detection(
        family="the ResNet of PyTorch-GAN's CycleGAN",
        arch="resnet",
        arch_kwargs={
            "in_channels": in_channels,
            "out_channels": out_channels,
            "ngf": ngf,
            "n_blocks": n_blocks,
            "n_downs": n_downs,
            "norm": norm,
            "bias": True,
            "up_by": "resize",
        },
        layers=layers,
        inputs=(image_of(in_channels, "input"),),
        output=image_of(out_channels, "output"),
        train_size=at_least((256, 256), 2**n_downs),
        inferred=(f"{n_blocks} blocks, {n_downs} downs, ngf {ngf}, {norm} norm",),
        assumed=("InstanceNorm, which has no keys, is the published choice",) if norm == "instance" else (),
    )
