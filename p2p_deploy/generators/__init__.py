"""The networks that get exported.

To add one: write its file here, add its line to ``GENERATORS`` and a test file. A generator's constructor takes
``in_channels``, ``out_channels`` and ``ngf`` with everything else defaulted; the instance has ``size_multiple`` and
``min_size`` in pixels, and maps (N, in_channels, H, W) to (N, out_channels, H, W). One that draws pictures from latent
vectors takes (N, Z + classes) instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from p2p_deploy.errors import SpecError
from p2p_deploy.generators.featured import Featured
from p2p_deploy.generators.local_enhancer import LocalEnhancer
from p2p_deploy.generators.mlp import MLP
from p2p_deploy.generators.resnet import ResNet
from p2p_deploy.generators.spade import Spade
from p2p_deploy.generators.styled import Styled
from p2p_deploy.generators.unet import UNet
from p2p_deploy.generators.unet_upsample import UNetUpsample

GENERATORS: dict[str, type[nn.Module]] = {
    "featured": Featured,
    "local_enhancer": LocalEnhancer,
    "mlp": MLP,
    "resnet": ResNet,
    "spade": Spade,
    "styled": Styled,
    "unet": UNet,
    "unet_upsample": UNetUpsample,
}

__all__ = [
    "GENERATORS",
    "MLP",
    "Featured",
    "LocalEnhancer",
    "ResNet",
    "Spade",
    "Styled",
    "UNet",
    "UNetUpsample",
    "build_generator",
]


def build_generator(arch: str, arch_kwargs: Mapping[str, Any]) -> nn.Module:
    """Make the network ``arch``.

    Raises:
        SpecError: the architecture or one of its arguments is unknown or out of range.
    """
    if arch not in GENERATORS:
        raise SpecError(f"Unknown architecture {arch!r}; this version has {', '.join(sorted(GENERATORS))}.")
    try:
        return GENERATORS[arch](**arch_kwargs)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise SpecError(f"{arch} cannot be built from {dict(arch_kwargs)!r}: {exc}.") from exc
