"""The ResNet generator of CycleGAN.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (ICCV 2017),
section 4 and appendix 7.2, after Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and
Super-Resolution (ECCV 2016).

    input ─ 7x7 conv ─ n_downs x (3x3 conv, stride 2) ─ n_blocks x residual block ─ n_downs x (transposed) ─ 7x7 conv

Each convolution but the last is followed by a norm and ReLU. Borders are padded by reflection.
"""

from __future__ import annotations

from torch import Tensor, nn

from p2p_deploy.errors import SpecError
from p2p_deploy.generators.norms import Norm, make_norm

MAX_BLOCKS = 64


class ConvNorm(nn.Module):
    """Convolution, norm and, where asked for, ReLU: (N, C, H, W) to (N, C', H', W')."""

    def __init__(
        self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: Norm, *, pad: int = 0, activate: bool = True
    ) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(pad) if pad else nn.Identity()
        self.conv = conv
        self.norm = make_norm(norm, conv.out_channels)
        self.activation = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Pad, convolve, normalise, activate."""
        return self.activation(self.norm(self.conv(self.pad(x))))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity: (N, C, H, W) to the same."""

    def __init__(self, channels: int, norm: Norm, *, bias: bool, dropout: bool) -> None:
        super().__init__()
        self.first = ConvNorm(nn.Conv2d(channels, channels, 3, bias=bias), norm, pad=1)
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()
        self.second = ConvNorm(nn.Conv2d(channels, channels, 3, bias=bias), norm, pad=1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        return x + self.second(self.dropout(self.first(x)))


class ResNet(nn.Module):
    """(N, in_channels, H, W) to (N, out_channels, H, W), float, both in [-1, 1].

    Height and width must be multiples of 2**n_downs and at least twice that, and at least 8: reflection needs more
    pixels than it pads. ``n_blocks`` is 9 for 256 x 256 pixels and 6 for 128 x 128 in the paper.

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
        dropout: bool = False,
    ) -> None:
        for name, value, low, high in (
            ("ngf", ngf, 1, 4096),
            ("n_blocks", n_blocks, 0, MAX_BLOCKS),
            ("n_downs", n_downs, 0, 6),
        ):
            if not low <= value <= high:
                raise SpecError(f"A ResNet generator has {name} from {low} to {high}, got {value}.")
        super().__init__()
        self.n_downs = n_downs
        bias = norm == "instance"
        width = [ngf * 2**level for level in range(n_downs + 1)]
        self.head = ConvNorm(nn.Conv2d(in_channels, ngf, 7, bias=bias), norm, pad=3)
        self.downs = nn.ModuleList(
            ConvNorm(nn.Conv2d(width[level], width[level + 1], 3, stride=2, padding=1, bias=bias), norm)
            for level in range(n_downs)
        )
        self.blocks = nn.ModuleList(ResidualBlock(width[-1], norm, bias=bias, dropout=dropout) for _ in range(n_blocks))
        self.ups = nn.ModuleList(
            ConvNorm(
                nn.ConvTranspose2d(width[level], width[level - 1], 3, stride=2, padding=1, output_padding=1, bias=bias),
                norm,
            )
            for level in range(n_downs, 0, -1)
        )
        self.pad = nn.ReflectionPad2d(3)
        self.tail = nn.Conv2d(ngf, out_channels, 7)

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this, pixels."""
        return 2**self.n_downs

    @property
    def min_size(self) -> int:
        """Smallest height and width, pixels."""
        return max(8, 2 * 2**self.n_downs)

    def forward(self, x: Tensor) -> Tensor:
        """Translate images (N, in_channels, H, W) in [-1, 1] into (N, out_channels, H, W) in [-1, 1]."""
        x = self.head(x)
        for layer in (*self.downs, *self.blocks, *self.ups):
            x = layer(x)
        return self.tail(self.pad(x)).tanh()
