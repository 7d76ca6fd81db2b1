"""The generator of SPADE (``latest_net_G.pth`` of NVIDIA's project). Spectral norm has been folded before.

fc                          the start: a convolution, or linear with a VAE
head_0  G_middle_0  G_middle_1  up_0 … up_3 (up_4)     blocks: conv_0, conv_1, conv_s, norm_0, norm_1, norm_s
norm_X.mlp_shared.0, .mlp_gamma, .mlp_beta, .param_free_norm
conv_img                    the last convolution
"""

from __future__ import annotations

import math
from typing import Any

from p2p_deploy.checkpoints.conditions import inputs_of
from p2p_deploy.checkpoints.detection import Detection, Layers, Shapes, at_least, image_of
from p2p_deploy.errors import CheckpointError
from p2p_deploy.generators.spade import UPSAMPLING_LEVELS
from p2p_deploy.options import Assumptions

_MARKER = "head_0.norm_0.mlp_shared.0.weight"
_BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3")
# Its channels for ADE20K: 150 classes, one for what has none, and no instances.
_ADE20K = 151


def detect(shapes: Shapes, assume: Assumptions) -> Detection | None:
    """Recognise a SPADE generator; None for anything else."""
    if _MARKER not in shapes:
        return None
    layers = Layers(shapes)
    _, channels, kernel, _ = layers.weight(_MARKER.removesuffix(".weight"))
    out_channels, last_width, *_ = layers.weight("conv_img")
    most = "up_4.conv_0.weight" in shapes
    ngf = last_width * (2 if most else 1)
    for index, block in enumerate((*_BLOCKS, "up_4") if most else _BLOCKS):
        _block(layers, block, f"blocks.{index}")
    layers.conv("fc", "start")
    layers.conv("conv_img", "tail")
    norm = "batch" if "head_0.norm_0.param_free_norm.running_mean" in shapes else "instance"
    inputs, features, assumed = inputs_of(channels, assume, "SPADE", edges_default=channels != _ADE20K, image=False)
    if features:
        raise CheckpointError("SPADE has no feature encoder; leave out `features`.")
    upsampling = "most" if most else assume.upsampling or "normal"
    if not most and assume.upsampling is None:
        assumed.append(
            "the size is doubled five times (normal); the keys are the same for six times, say `upsampling=more`"
        )
    kwargs: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": out_channels,
        "ngf": ngf,
        "upsampling": upsampling,
        "norm": norm,
        "kernel": kernel,
    }
    doublings = 2 ** UPSAMPLING_LEVELS[upsampling]
    train_size = at_least((256, 512) if channels == 36 else (256, 256), doublings * (2 if norm == "instance" else 1))
    inferred = [f"ngf {ngf}, {norm} norm, {'eight' if most else 'seven'} blocks"]
    if len(shapes.get("fc.weight", ())) == 2:
        base, z_dim = _vae(shapes["fc.weight"], ngf)
        kwargs |= {"z_dim": z_dim, "base_size": list(base)}
        train_size = (base[0] * doublings, base[1] * doublings)
        inferred.append(
            f"trained with a VAE: {z_dim} numbers decide the style, {base[0]}x{base[1]} places to begin with"
        )
        if assume.encoded is None:
            assumed.append("the style is the mean of all, zeros; another one with `encoded=FILE.npy`")
    return Detection(
        family="the generator of SPADE",
        arch="spade",
        arch_kwargs=kwargs,
        layers=layers,
        inputs=inputs,
        output=image_of(out_channels, "output"),
        train_size=train_size,
        asks=frozenset(("labels", "edges") if most else ("labels", "edges", "upsampling")),
        inferred=tuple(inferred),
        assumed=tuple(assumed),
    )


def _block(layers: Layers, theirs: str, ours: str) -> None:
    for name in ("0", "1", "s"):
        layers.conv(f"{theirs}.conv_{name}", f"{ours}.conv_{name}")
        norm, our_norm = f"{theirs}.norm_{name}", f"{ours}.norm_{name}"
        layers.statistics(f"{norm}.param_free_norm", f"{our_norm}.norm")
        for part, our_part in (("mlp_shared.0", "shared"), ("mlp_gamma", "scale"), ("mlp_beta", "shift")):
            layers.conv(f"{norm}.{part}", f"{our_norm}.{our_part}")


def _vae(shape: tuple[int, ...], ngf: int) -> tuple[tuple[int, int], int]:
    """(height, width) of the first features, and the length of the latent vector.

    Raises:
        CheckpointError: the sizes are neither square nor twice as wide as high.
    """
    places, rest = divmod(shape[0], 16 * ngf)
    for height in (math.isqrt(places), math.isqrt(places // 2)):
        width = places // height if height else 0
        if not rest and height and height * width == places and width in (height, 2 * height):
            return (height, width), shape[1]
    raise CheckpointError(
        f"fc.weight has the shape {shape}; expected 16 x ngf ({ngf}) x places, as many rows as columns, or half."
    )
