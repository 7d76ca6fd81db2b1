"""ResNet generators in one ``nn.Sequential``: pytorch-CycleGAN-and-pix2pix, and the global generator of pix2pixHD.

    model.1, .2                     7x7 convolution and its norm
    model.4, .5  model.7, .8 …      downs
    model.N.conv_block.1, .2        residual blocks from N = 4 + 3 n_downs: first convolution and norm
    model.N.conv_block.5, .6        second ones; one later with dropout; from 0 and one earlier with padding by zeros
    model.K, .K+1                   transposed convolutions, three apart
    model.L                         7x7 convolution to pixels

The two projects share the layout. They differ in biases: CycleGAN's convolutions have them only beside InstanceNorm.
"""

from __future__ import annotations

import re
from typing import Any

from p2p_deploy.checkpoints.conditions import CONDITIONS, inputs_of
from p2p_deploy.checkpoints.detection import Detection, Layers, Shapes, at_least, image_of
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions

REFLECTED = "blocks are padded by reflection, the published default; by replication would look the same"
# Indices of the two convolutions of a block -> (padding, dropout)
_BLOCK_LAYOUTS = {
    (1, 5): ("reflect", False),
    (1, 6): ("reflect", True),
    (0, 3): ("zeros", False),
    (0, 4): ("zeros", True),
}


def detect(shapes: Shapes, assume: Assumptions) -> Detection | None:
    """Recognise a ResNet generator with any number of downs and blocks; None for anything else."""
    if "model.1.weight" not in shapes or any(key.startswith("model1_") for key in shapes):
        return None
    blocks = block_indices(shapes, "model")
    if not blocks:
        return None
    layers = Layers(shapes)
    ngf, in_channels, *_ = layers.weight("model.1")
    n_downs, n_blocks = downs_before(blocks), len(blocks)
    padding, dropout = trunk(layers, "model", "", n_downs, blocks)
    tail = blocks[0] + n_blocks + 3 * n_downs + 1
    out_channels = layers.weight(f"model.{tail}")[0]
    layers.conv(f"model.{tail}", "tail.conv")
    norm, bias = norm_of(shapes, "model"), "model.1.bias" in shapes
    high_definition = bias and (n_downs > 2 or in_channels > 3 or norm == "batch")
    name = "the global generator of pix2pixHD" if high_definition else "the ResNet of pytorch-CycleGAN-and-pix2pix"
    if bias:
        inputs, features, assumed = inputs_of(in_channels, assume, name)
    else:  # pix2pixHD's convolutions have biases, and nothing else takes labels
        inputs, features, assumed = (image_of(in_channels, "input"),), 0, []
    kwargs: dict[str, Any] = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "ngf": ngf,
        "n_blocks": n_blocks,
        "n_downs": n_downs,
        "norm": norm,
        "bias": bias,
        "dropout": dropout,
        "padding": padding,
    }
    inferred = [f"{n_blocks} blocks, {n_downs} downs, ngf {ngf}, {norm} norm{', dropout' if dropout else ''}"]
    if norm == "instance":
        inferred.append("the layout is the same in pytorch-CycleGAN-and-pix2pix and in pix2pixHD")
    if padding == "reflect":
        assumed.append(REFLECTED)
    return Detection(
        family=name,
        arch="resnet",
        arch_kwargs=kwargs,
        layers=layers,
        inputs=inputs,
        output=image_of(out_channels, "output"),
        train_size=at_least((256, 256) if inputs[0].kind == "image" else (512, 1024), 2**n_downs),
        features=features,
        inferred=tuple(inferred),
        assumed=tuple(assumed),
        asks=CONDITIONS if bias else frozenset(),
    )


def block_indices(shapes: Shapes, sequential: str) -> list[int]:
    """Where the residual blocks are in a Sequential, in order.

    Raises:
        CheckpointError: they do not follow one another.
    """
    pattern = re.compile(rf"{re.escape(sequential)}\.(\d{{1,4}})\.conv_block\.\d+\.weight")
    found = sorted({int(match[1]) for key in shapes if (match := pattern.fullmatch(key))})
    if found and found != list(range(found[0], found[0] + len(found))):
        raise CheckpointError(
            f"residual blocks are at {sequential}.{', '.join(map(str, found))}; expected one after the other."
        )
    return found


def downs_before(blocks: list[int]) -> int:
    """How many downs there are before the first residual block: three layers each, after the first four.

    Raises:
        CheckpointError: the first block is where no layout has it.
    """
    n_downs, rest = divmod(blocks[0] - 4, 3)
    if rest or n_downs < 0:
        raise CheckpointError(
            f"the first residual block is at index {blocks[0]}; expected 4, 7, 10, 13, … after a convolution and downs "
            "of three layers each."
        )
    return n_downs


def trunk(layers: Layers, theirs: str, ours: str, n_downs: int, blocks: list[int]) -> tuple[str, bool]:
    """Collect everything but the last convolution.

    Returns:
        The padding of the blocks, and whether they have dropout.

    Raises:
        CheckpointError: blocks of another layout, or ups that are no transposed convolutions.
    """
    layers.conv(f"{theirs}.1", f"{ours}head.conv")
    layers.norm(f"{theirs}.2", f"{ours}head.norm")
    for level in range(n_downs):
        index = 4 + 3 * level
        layers.conv(f"{theirs}.{index}", f"{ours}downs.{level}.conv")
        layers.norm(f"{theirs}.{index + 1}", f"{ours}downs.{level}.norm")
    layout = residual_blocks(layers, theirs, f"{ours}blocks", blocks)
    for level in range(n_downs):
        index = blocks[0] + len(blocks) + 3 * level
        up = layers.weight(f"{theirs}.{index}")
        if up[0] != 2 * up[1]:
            raise CheckpointError(
                f"{theirs}.{index}.weight has the shape {up}; expected a transposed convolution's, (2c, c, 3, 3). This "
                "looks like a fork that up-samples in another way, which its keys do not describe."
            )
        layers.conv(f"{theirs}.{index}", f"{ours}ups.{level}.conv")
        layers.norm(f"{theirs}.{index + 1}", f"{ours}ups.{level}.norm")
    return layout


def residual_blocks(layers: Layers, theirs: str, ours: str, blocks: list[int]) -> tuple[str, bool]:
    """Collect residual blocks; see ``trunk``."""
    layouts = set()
    for number, index in enumerate(blocks):
        block = f"{theirs}.{index}.conv_block"
        convs = tuple(place for place in range(8) if len(layers.shapes.get(f"{block}.{place}.weight", ())) == 4)
        if convs not in _BLOCK_LAYOUTS:
            raise CheckpointError(
                f"{block} has convolutions at {', '.join(map(str, convs)) or 'no index'}; expected 1 and 5, or 6 with "
                "dropout."
            )
        layouts.add(_BLOCK_LAYOUTS[convs])
        for place, name in zip(convs, ("first", "second"), strict=True):
            layers.conv(f"{block}.{place}", f"{ours}.{number}.{name}.conv")
            layers.norm(f"{block}.{place + 1}", f"{ours}.{number}.{name}.norm")
    if len(layouts) > 1:
        raise CheckpointError(f"the residual blocks of {theirs} differ in padding or dropout; expected all alike.")
    return layouts.pop()


def norm_of(shapes: Shapes, sequential: str) -> str:
    """The norm after the first convolution: BatchNorm has weights, InstanceNorm comes with a bias, or there is none."""
    if f"{sequential}.2.weight" in shapes:
        return "batch"
    return "instance" if f"{sequential}.1.bias" in shapes else "none"
