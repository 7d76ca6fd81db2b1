"""Whose weights are these? Asked of every family in turn, of the keys and shapes alone.

To add a family: a file with a ``detect`` like the ones here, its line in ``FAMILIES``, and a layout in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from p2p_deploy.checkpoints import cyclegan_unet, local_enhancer, pytorch_gan, resnet, spade
from p2p_deploy.checkpoints.detection import Detection, Shapes
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions

FAMILIES: tuple[Callable[[Shapes, Assumptions], Detection | None], ...] = (
    cyclegan_unet.detect,
    local_enhancer.detect,
    resnet.detect,
    pytorch_gan.detect_unet,
    pytorch_gan.detect_resnet,
    spade.detect,
)
_MAX_PREFIXES = 6


def recognise(weights: Mapping[str, Tensor], assume: Assumptions) -> tuple[Detection, dict[str, Tensor]]:
    """The generator among some weights.

    Whatever all keys begin with is removed until a family knows them (``module.``, ``_orig_mod.``, the name that a
    training module gave its generator). Where several networks lie side by side, the one that is a generator is taken.

    Args:
        weights: key to tensor, spectral norm folded.
        assume: what the keys cannot tell.

    Returns:
        What was found, and the weights of that network under the family's own keys.

    Raises:
        CheckpointError: no family knows them, several generators are there, or keys are missing or left over.
    """
    if any(key.endswith(".filt") for key in weights):
        raise CheckpointError(
            "seems to be a generator of CUT with anti-aliased sampling, which this version does not know."
        )
    networks = {"": dict(weights)}
    left_out: list[str] = []
    part = assume.part
    for _ in range(_MAX_PREFIXES):
        if part and part not in networks:  # look nowhere but there
            networks, left_out = _below(networks)
            continue
        if part:
            networks, part = {part: networks[part]}, None
        generators = {name: found for name, keys in networks.items() if (found := _ask(keys, assume))}
        if len(generators) > 1:
            raise CheckpointError(
                f"holds several generators ({', '.join(sorted(generators))}); say which with `part`, an option of "
                f"p2p export, such as {min(generators)}."
            )
        for name, found in generators.items():
            _check_complete(found, networks[name])
            return _with_remark(found, left_out, name), networks[name]
        networks, left_out = _below(networks)
    if part:
        beginnings = sorted({key.partition(".")[0] for key in weights})
        raise CheckpointError(f"has no part {part!r}; its keys begin with {', '.join(beginnings[:6])}.")
    raise CheckpointError(describe(weights))


def _ask(weights: Mapping[str, Tensor], assume: Assumptions) -> Detection | None:
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    return next((found for find in FAMILIES if (found := find(shapes, assume))), None)


def _below(networks: Mapping[str, Mapping[str, Tensor]]) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """The networks one name deeper, and the names of them all."""
    deeper: dict[str, dict[str, Tensor]] = {}
    for outer, weights in networks.items():
        for key, value in weights.items():
            name, dot, rest = key.partition(".")
            if dot:
                deeper.setdefault(f"{outer}.{name}" if outer else name, {})[rest] = value
    return deeper, sorted(deeper)


def _with_remark(found: Detection, names: list[str], taken: str) -> Detection:
    others = [name for name in names if name != taken]
    if not others:
        return found
    remark = f"taken from {taken}; left out: {', '.join(others[:6])}"
    return replace(found, inferred=(*found.inferred, remark))


def _check_complete(found: Detection, weights: Mapping[str, Tensor]) -> None:
    """Every key of the file is used, or known to carry nothing; what is missing is found when weights are loaded."""
    over = [key for key in weights if key not in found.layers.renamed and key not in found.layers.dropped]
    if over:
        more = f" and {len(over) - 3} more" if len(over) > 3 else ""
        raise CheckpointError(
            f"looks like {found.family}, and has keys that this network does not: {', '.join(over[:3])}{more}. It "
            "may be a fork with further layers, and leaving them out would give other pictures, so it was refused."
        )


def describe(weights: Mapping[str, Tensor]) -> str:
    """What weights that no family knows seem to be."""
    keys = list(weights)
    shapes = [tuple(value.shape) for value in weights.values()]
    for matches, what in (
        (_any(keys, "scale0_layer", "scale1_layer", "scale0.", "discriminator_0."), "a multi-scale discriminator"),
        (_any(keys, "fc_mu.", "fc_var."), "the image encoder of SPADE"),
        (_is_patchgan(keys, shapes), "a PatchGAN discriminator"),
        (_is_encoder(keys), "the feature encoder of pix2pixHD"),
        (_any(keys, "features.0.", "slice1."), "a classifier such as VGG"),
        (_any(keys, "model.diffusion_model", "down_blocks.", "conv_in."), "a diffusion model"),
        (_any(keys, "RRDB_trunk", "conv_first.", "body.0."), "a super-resolution network"),
        (_any(keys, "mapping.", "synthesis."), "a StyleGAN"),
        (_any(keys, "encoder.layer", "transformer.", "embeddings."), "a transformer"),
    ):
        if matches:
            return f"seems to be {what}, not a generator of the pix2pix family."
    if not keys:
        return "holds no weights; expected those of a generator."
    return (
        f"is not a generator that this version knows (first keys: {', '.join(keys[:3])}). It knows those of "
        "pytorch-CycleGAN-and-pix2pix, pix2pixHD, PyTorch-GAN and SPADE."
    )


def _any(keys: list[str], *beginnings: str) -> bool:
    return any(key.startswith(beginnings) for key in keys)


def _is_patchgan(keys: list[str], shapes: list[tuple[int, ...]]) -> bool:
    """4x4 convolutions in one Sequential down to a single channel; or the 1x1 ones of a pixel discriminator."""
    kernels = [shape for shape in shapes if len(shape) == 4]
    return bool(kernels) and kernels[-1][0] == 1 and all(shape[2:] in ((4, 4), (1, 1), (3, 3)) for shape in kernels)


def _is_encoder(keys: list[str]) -> bool:
    """A generator's Sequential without residual blocks."""
    return "model.1.weight" in keys and "model.4.weight" in keys and not any("block" in key for key in keys)
