"""The local enhancer of pix2pixHD.

model.*                    the global generator at half the size, without its last three layers
model1_1.1, .2  .4, .5     first enhancer: 7x7 convolution, down
model1_2.0 … .B-1          its residual blocks; .B, .B+1 the transposed convolution and its norm
model1_2.B+4               7x7 convolution to pixels, in the last enhancer only
"""

from __future__ import annotations

from p2p_deploy.checkpoints.conditions import CONDITIONS, inputs_of
from p2p_deploy.checkpoints.detection import Detection, Layers, Shapes, at_least, image_of
from p2p_deploy.checkpoints.resnet import REFLECTED, block_indices, downs_before, norm_of, residual_blocks, trunk
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions

_NAME = "the local enhancer of pix2pixHD"


def detect(shapes: Shapes, assume: Assumptions) -> Detection | None:
    """Recognise a local enhancer with any number of scales; None for anything else."""
    if not any(key.startswith(("model1_1.", "model1_2.")) for key in shapes):
        return None
    layers = Layers(shapes)
    n_enhancers = 1
    while any(key.startswith(f"model{n_enhancers + 1}_") for key in shapes):
        n_enhancers += 1
    coarse = block_indices(shapes, "model")
    if not coarse:
        raise CheckpointError("the residual blocks of its global generator, model.N.conv_block, are missing.")
    n_downs = downs_before(coarse)
    layouts = {trunk(layers, "model", "coarse.", n_downs, coarse)}
    blocks = [_enhancer(layers, number, layouts) for number in range(1, n_enhancers + 1)]
    if len(layouts) > 1:
        raise CheckpointError("its residual blocks differ in padding or dropout; expected all alike.")
    padding, _ = layouts.pop()
    if len(set(blocks)) > 1:
        raise CheckpointError(f"its enhancers have {blocks} residual blocks; expected as many in each.")
    tail = f"model{n_enhancers}_2.{blocks[-1] + 4}"
    out_channels = layers.weight(tail)[0]
    layers.conv(tail, "tail.conv")
    ngf, in_channels, *_ = layers.weight(f"model{n_enhancers}_1.1")
    norm = norm_of(shapes, "model")
    inputs, features, assumed = inputs_of(in_channels, assume, _NAME)
    multiple = 2 ** (n_downs + n_enhancers)
    return Detection(
        family=_NAME,
        arch="local_enhancer",
        arch_kwargs={
            "in_channels": in_channels,
            "out_channels": out_channels,
            "ngf": ngf,
            "n_blocks": len(coarse),
            "n_downs": n_downs,
            "n_local_blocks": blocks[0],
            "n_enhancers": n_enhancers,
            "norm": norm if norm == "batch" else "instance",
            "padding": padding,
        },
        layers=layers,
        inputs=inputs,
        output=image_of(out_channels, "output"),
        train_size=at_least((512, 512) if inputs[0].kind == "image" else (1024, 2048), multiple),
        features=features,
        inferred=(
            f"{len(coarse)} blocks, {n_downs} downs, ngf {ngf}, {norm} norm",
            f"{n_enhancers} enhancers of {blocks[0]} blocks",
        ),
        assumed=(*assumed, *([REFLECTED] if padding == "reflect" else [])),
        asks=CONDITIONS,
    )


def _enhancer(layers: Layers, number: int, layouts: set[tuple[str, bool]]) -> int:
    """Collect one enhancer and say how many residual blocks it has."""
    first, second, ours = f"model{number}_1", f"model{number}_2", f"enhancers.{number - 1}"
    for index, name in ((1, "head"), (4, "down")):
        layers.conv(f"{first}.{index}", f"{ours}.{name}.conv")
        layers.norm(f"{first}.{index + 1}", f"{ours}.{name}.norm")
    blocks = block_indices(layers.shapes, second)
    if not blocks or blocks[0] != 0:
        raise CheckpointError(f"{second} begins with no residual block; expected {second}.0.conv_block.")
    layouts.add(residual_blocks(layers, second, f"{ours}.blocks", blocks))
    layers.conv(f"{second}.{len(blocks)}", f"{ours}.up.conv")
    layers.norm(f"{second}.{len(blocks) + 1}", f"{ours}.up.norm")
    return len(blocks)
