"""The coarse-to-fine generator of pix2pixHD.

Wang et al.: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (CVPR 2018), section 3.2,
figure 3.

    input ─ 7x7 conv ─ 3x3 conv, stride 2 ─ (+) ─ residual blocks ─ transposed ─ 7x7 conv ─ output
      │                                      │
    half the size ─ global generator without its last convolution

With more than one enhancer each works at twice the size of the one before it and takes that one's features.
"""

from __future__ import annotations

from torch import Tensor, nn

from p2p_deploy.generators.norms import Norm
from p2p_deploy.generators.resnet import Padding, ResidualBlock, Tail, Trunk, down, up, wide
from p2p_deploy.spec.checks import check_integer


class Enhancer(nn.Module):
    """One scale: an image, and features of half its size, to features of its size."""

    def __init__(self, in_channels: int, ngf: int, n_blocks: int, norm: Norm, *, bias: bool, padding: Padding) -> None:
        super().__init__()
        self.head = wide(in_channels, ngf, norm, bias=bias)
        self.down = down(ngf, 2 * ngf, norm, bias=bias)
        self.blocks = nn.ModuleList(ResidualBlock(2 * ngf, norm, bias=bias, padding=padding) for _ in range(n_blocks))
        self.up = up(2 * ngf, ngf, norm, bias=bias)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """(N, in_channels, 2H, 2W) and (N, 2 ngf, H, W) to (N, ngf, 2H, 2W)."""
        x = self.down(self.head(x)) + coarse
        for block in self.blocks:
            x = block(x)
        return self.up(x)


class LocalEnhancer(nn.Module):
    """(N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]; the input is one-hot labels and edges, or an image.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        ngf: width at full size; the global generator has 2**n_enhancers times that.
        n_blocks: residual blocks of the global generator.
        n_downs: how often the global generator halves its size.
        n_local_blocks: residual blocks of each enhancer.
        n_enhancers: how many.
        norm: after every convolution but the last.
        bias: of every convolution but the last.
        padding: of the residual blocks.

    Raises:
        SpecError: for a depth or width that does not make a network.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        ngf: int = 32,
        n_blocks: int = 9,
        n_downs: int = 4,
        n_local_blocks: int = 3,
        n_enhancers: int = 1,
        norm: Norm = "instance",
        bias: bool = True,
        padding: Padding = "reflect",
    ) -> None:
        check_integer("n_local_blocks", n_local_blocks, 0, 64)
        check_integer("n_enhancers", n_enhancers, 1, 4)
        super().__init__()
        self.coarse = Trunk(
            in_channels,
            ngf=ngf * 2**n_enhancers,
            n_blocks=n_blocks,
            n_downs=n_downs,
            norm=norm,
            bias=bias,
            padding=padding,
        )
        self.enhancers = nn.ModuleList(
            Enhancer(in_channels, ngf * 2 ** (n_enhancers - scale), n_local_blocks, norm, bias=bias, padding=padding)
            for scale in range(1, n_enhancers + 1)
        )
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.tail = Tail(ngf, out_channels)
        factor = 2 ** len(self.enhancers)
        self.size_multiple, self.min_size = factor * self.coarse.size_multiple, factor * self.coarse.min_size

    def forward(self, x: Tensor) -> Tensor:
        """From the smallest size to the full one."""
        sizes = [x]
        for _ in self.enhancers:
            sizes.append(self.halve(sizes[-1]))
        features = self.coarse(sizes.pop())
        for enhancer in self.enhancers:
            features = enhancer(sizes.pop(), features)
        return self.tail(features)
