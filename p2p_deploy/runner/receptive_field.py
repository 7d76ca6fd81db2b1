"""How far our generators look, by their arguments alone: what tiles have to overlap by. Standard library only."""

from __future__ import annotations

from p2p_deploy.spec import ModelSpec

# What the constructors take where an argument is left out.
_NORMS = {"unet": "batch"}  # of the others: instance


def receptive_radius(spec: ModelSpec) -> int | None:
    """How many pixels away an input pixel can be that an output pixel depends on, statistics of norms apart.

    Half of the receptive field, rounded up: each convolution adds what its kernel reaches at the scale it works at.

    Returns:
        Pixels, or None where that is not known or is the whole picture.
    """
    arguments = spec.arch_kwargs
    # features are looked up place by place, and a style is the same everywhere
    arch = arguments.get("generator", "resnet") if spec.arch in ("featured", "styled") else spec.arch
    if arch == "unet":
        # 4x4 with stride 2 reaches 1.5 positions, each way, at each of the scales 1, 2, 4, … The neck's two 3x3 reach 1
        # position at each of 2, 4, … and of 4, 8, …, in place of the encoder's.
        each = 4.5 if arguments.get("neck", "none") == "pan" else 3
        return int(each * 2 ** arguments.get("num_downs", 8))
    if arch == "resnet":
        downs, blocks = arguments.get("n_downs", 2), arguments.get("n_blocks", 9)
        scale = 2**downs
        # 7x7 at both ends, 3x3 on the way down and up, two 3x3 a block at the coarsest scale.
        return int(3 + (scale - 1) + 2 * blocks * scale + 2 * (scale - 1) + 3)
    return None


def averages_over_the_picture(spec: ModelSpec) -> bool:
    """Whether norms take statistics of each picture, so that each part of it changes all others."""
    norm = spec.arch_kwargs.get("norm", _NORMS.get(spec.arch, "instance"))
    return norm == "instance" or (norm == "batch" and spec.norm_stats == "instance")
