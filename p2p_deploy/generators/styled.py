"""A generator whose residual blocks are normalised as a style says: adaptive instance normalisation.

Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization (ICCV 2017), section 4.
Scale and shift are linear in the style, as in Karras, Laine, Aila: A Style-Based Generator Architecture for Generative
Adversarial Networks (CVPR 2019), section 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from p2p_deploy.generators.featured import Inner, make_inner
from p2p_deploy.generators.resnet import ResidualBlock
from p2p_deploy.spec.checks import check_integer


class AdaIN(nn.Module):
    """InstanceNorm, then a scale and a shift for each channel that follow from a style: (N, C, H, W) to the same.

    Attributes:
        average: the style (length,) that is taken where none is given.
        given: (N, length), for as long as ``Styled`` calls with it.
    """

    average: Tensor

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.affine = nn.Linear(length, 2 * channels)
        self.register_buffer("average", torch.zeros(length))
        self.given: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, scale by one and what the style adds to it, and shift."""
        style = self.average[None] if self.given is None else self.given
        both = self.affine(style)[:, :, None, None]
        scale, shift = both[:, : x.shape[1]], both[:, x.shape[1] :]  # a Split would not be folded into constants
        return self.norm(x) * (1 + scale) + shift


class Styled(nn.Module):
    """A ResNet or local enhancer with AdaIN in its residual blocks: (N, in_channels, H, W) to (N, C, H, W).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        ngf: width of the generator's first layer.
        generator: which one.
        style: length of the style vector.
        **arguments: the generator's.

    Raises:
        SpecError: for a style of no length, or arguments that make no generator.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        ngf: int = 64,
        generator: Inner = "resnet",
        style: int = 8,
        **arguments: Any,
    ) -> None:
        check_integer("style", style, 1, 1024)
        super().__init__()
        self.generator = make_inner(generator, in_channels, out_channels, ngf, arguments)
        for block in [module for module in self.generator.modules() if isinstance(module, ResidualBlock)]:
            for layer in (block.first, block.second):
                layer.norm = AdaIN(layer.conv.out_channels, style)
        self.size_multiple, self.min_size = self.generator.size_multiple, self.generator.min_size

    @property
    def norms(self) -> list[AdaIN]:
        """All that follow the style."""
        return [module for module in self.modules() if isinstance(module, AdaIN)]

    def set_average(self, style: Tensor) -> None:
        """Take ``style``, (style,), wherever none is given."""
        for norm in self.norms:
            norm.average.copy_(style)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Translate; ``style`` (N, style) instead of the average."""
        norms = self.norms if style is not None else []
        for norm in norms:
            norm.given = style
        try:
            return self.generator(x)
        finally:
            for norm in norms:
                norm.given = None
