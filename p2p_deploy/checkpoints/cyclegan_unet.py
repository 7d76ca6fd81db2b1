"""U-Nets of pytorch-CycleGAN-and-pix2pix (``latest_net_G.pth``), whose blocks lie inside one another.

    model.model.0                     outermost down          model.model.3     outermost up, with a bias
    model.model.1.model.1, .2         next down and its norm  model.model.1.model.5, .6   its up and norm
    model.model.1.model.3.model.1 …   the block inside it     innermost: .1 down, .3 up, .4 norm

Each block but the outermost begins with an activation, and each but the innermost has the next one at index 1 (in the
outermost) or 3. Dropout has no weights and is last in its block, so it shows nowhere.
"""

from __future__ import annotations

from p2p_deploy.checkpoints.detection import Detection, Layers, Shapes, at_least, image_of
from p2p_deploy.options import Assumptions

_OUTER, _FIRST_INNER, _INNER = "model.model", "model.model.1.model", ".3.model"


def detect(shapes: Shapes, assume: Assumptions) -> Detection | None:
    """Recognise a U-Net of this project, any depth; None for anything else."""
    if f"{_OUTER}.0.weight" not in shapes or f"{_OUTER}.3.weight" not in shapes:
        return None
    layers = Layers(shapes)
    ngf, in_channels, *_ = layers.weight(f"{_OUTER}.0")
    out_channels = layers.weight(f"{_OUTER}.3")[1]
    blocks = [_FIRST_INNER]
    while f"{blocks[-1]}{_INNER}.1.weight" in shapes:
        blocks.append(blocks[-1] + _INNER)
    num_downs = 1 + len(blocks)
    layers.conv(f"{_OUTER}.0", "downs.0.conv")
    layers.conv(f"{_OUTER}.3", "ups.0.conv")
    for level, block in enumerate(blocks, start=1):
        innermost = level == num_downs - 1
        up, norm = (3, 4) if innermost else (5, 6)
        layers.conv(f"{block}.1", f"downs.{level}.conv")
        layers.conv(f"{block}.{up}", f"ups.{level}.conv")
        layers.norm(f"{block}.{norm}", f"ups.{level}.norm")
        if not innermost:
            layers.norm(f"{block}.2", f"downs.{level}.norm")
    norm_name = "none"
    if f"{_FIRST_INNER}.2.weight" in shapes:
        norm_name = "batch"
    elif f"{_OUTER}.0.bias" in shapes:
        norm_name = "instance"
    return Detection(
        family="the U-Net of pytorch-CycleGAN-and-pix2pix",
        arch="unet",
        arch_kwargs={
            "in_channels": in_channels,
            "out_channels": out_channels,
            "num_downs": num_downs,
            "ngf": ngf,
            "norm": norm_name,
        },
        layers=layers,
        inputs=(image_of(in_channels, "input"),),
        output=image_of(out_channels, "output"),
        train_size=at_least((256, 256), 2**num_downs),
        inferred=(f"{num_downs} downs, ngf {ngf}, {norm_name} norm",),
        assumed=("dropout is not in the keys, and off in any case",),
    )
