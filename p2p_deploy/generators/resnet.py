"""The ResNet generator of CycleGAN, which is pix2pixHD's global generator too.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (ICCV 2017),
section 4 and appendix 7.2, after Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and
Super-Resolution (ECCV 2016). Wang et al.: High-Resolution Image Synthesis and Semantic Manipulation with Conditional
GANs (CVPR 2018), section 3.2 and appendix A.

    input ─ 7x7 conv ─ n_downs x (3x3 conv, stride 2) ─ n_blocks x residual block ─ n_downs x (transposed) ─ 7x7 conv

Each convolution but the last is followed by a norm and ReLU. Borders are padded by reflection.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from p2p_deploy.generators.norms import MAX_WIDTH, Norm, make_norm
from p2p_deploy.spec.checks import check_choice, check_integer

MAX_BLOCKS = 64
Up = Literal["transposed", "resize"]
Padding = Literal["reflect", "replicate", "zeros"]
_PADS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zeros": nn.ZeroPad2d}


class ConvNorm(nn.Module):
    """What makes room for a convolution, the convolution, norm and, where asked for, ReLU."""

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        norm: Norm,
        *,
        before: nn.Module | None = None,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        self.conv = conv
        self.norm = make_norm(norm, conv.out_channels)
        self.activation = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        return self.activation(self.norm(self.conv(self.before(x))))


def wide(in_channels: int, out_channels: int, norm: Norm, *, bias: bool) -> ConvNorm:
    """7x7 convolution at full size, the borders reflected."""
    return ConvNorm(nn.Conv2d(in_channels, out_channels, 7, bias=bias), norm, before=nn.ReflectionPad2d(3))


def down(in_channels: int, out_channels: int, norm: Norm, *, bias: bool) -> ConvNorm:
    """3x3 convolution that halves height and width."""
    return ConvNorm(nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=bias), norm)


def up(in_channels: int, out_channels: int, norm: Norm, *, bias: bool, how: Up = "transposed") -> ConvNorm:
    """3x3 convolution that doubles height and width: a transposed one, or one after nearest neighbours."""
    if how == "resize":
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        return ConvNorm(conv, norm, before=nn.Upsample(scale_factor=2))
    return ConvNorm(
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias), norm
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity: (N, C, H, W) to the same."""

    def __init__(
        self, channels: int, norm: Norm, *, bias: bool, dropout: bool = False, padding: Padding = "reflect"
    ) -> None:
        super().__init__()

        def conv(activate: bool) -> ConvNorm:
            return ConvNorm(
                nn.Conv2d(channels, channels, 3, bias=bias), norm, before=_PADS[padding](1), activate=activate
            )

        self.first = conv(True)
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()
        self.second = conv(False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        return x + self.second(self.dropout(self.first(x)))


class Trunk(nn.Module):
    """Everything of a ResNet generator but its last convolution: (N, in_channels, H, W) to (N, ngf, H, W).

    Raises:
        SpecError: for a depth or width that does not make a network.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        ngf: int,
        n_blocks: int,
        n_downs: int,
        norm: Norm,
        bias: bool,
        dropout: bool = False,
        up_by: Up = "transposed",
        padding: Padding = "reflect",
    ) -> None:
        check_integer("ngf", ngf, 1, MAX_WIDTH)
        check_integer("n_blocks", n_blocks, 0, MAX_BLOCKS)
        check_integer("n_downs", n_downs, 0, 6)
        check_choice("up_by", up_by, get_args(Up))
        check_choice("padding", padding, get_args(Padding))
        super().__init__()
        self.n_downs = n_downs
        self.size_multiple, self.min_size = 2**n_downs, max(8, 2 * 2**n_downs)
        width = [ngf * 2**level for level in range(n_downs + 1)]
        self.head = wide(in_channels, ngf, norm, bias=bias)
        self.downs = nn.ModuleList(down(width[level], width[level + 1], norm, bias=bias) for level in range(n_downs))
        self.blocks = nn.ModuleList(
            ResidualBlock(width[-1], norm, bias=bias, dropout=dropout, padding=padding) for _ in range(n_blocks)
        )
        self.ups = nn.ModuleList(
            up(width[level], width[level - 1], norm, bias=bias, how=up_by) for level in range(n_downs, 0, -1)
        )

    def features(self, x: Tensor) -> Tensor:
        """What the last convolution is given."""
        x = self.head(x)
        for layer in (*self.downs, *self.blocks, *self.ups):
            x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] to (N, ngf, H, W)."""
        return self.features(x)


class Tail(nn.Module):
    """7x7 convolution to pixels: (N, ngf, H, W) to (N, out_channels, H, W) in [-1, 1]."""

    def __init__(self, ngf: int, out_channels: int) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(3)
        self.conv = nn.Conv2d(ngf, out_channels, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, convolve, tanh."""
        return self.conv(self.pad(x)).tanh()


class ResNet(Trunk):
    """(N, in_channels, H, W) to (N, out_channels, H, W), float, both in [-1, 1].

    Height and width must be multiples of 2**n_downs and at least twice that, and at least 8: reflection needs more
    pixels than it pads. ``n_blocks`` is 9 for 256 x 256 pixels and 6 for 128 x 128 in the CycleGAN paper; pix2pixHD has
    four downs and nine blocks.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        ngf: width of the first layer.
        n_blocks: residual blocks.
        n_downs: how often the size is halved.
        norm: after every convolution but the last.
        bias: of every convolution but the last; None is the published choice for CycleGAN: where there is InstanceNorm.
        dropout: in the residual blocks.
        up_by: transposed convolutions, or nearest neighbours and a convolution.
        padding: of the residual blocks.

    Raises:
        SpecError: for a depth or width that does not make a network.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        ngf: int = 64,
        n_blocks: int = 9,
        n_downs: int = 2,
        norm: Norm = "instance",
        bias: bool | None = None,
        dropout: bool = False,
        up_by: Up = "transposed",
        padding: Padding = "reflect",
    ) -> None:
        super().__init__(
            in_channels,
            ngf=ngf,
            n_blocks=n_blocks,
            n_downs=n_downs,
            norm=norm,
            bias=norm == "instance" if bias is None else bias,
            dropout=dropout,
            up_by=up_by,
            padding=padding,
        )
        self.tail = Tail(ngf, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Translate images (N, in_channels, H, W) in [-1, 1] into (N, out_channels, H, W) in [-1, 1]."""
        return self.tail(self.features(x))
