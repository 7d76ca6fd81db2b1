"""The U-Net generator of pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (CVPR 2017), section 3.2.1
and appendix 6.1.1.

    input ─ down 0 ─ down 1 ─ … ─ down n-1      4x4 convolutions, stride 2: each halves height and width
              │        │            │
    output ─ up 0 ── up 1 ── … ── up n-1        4x4 transposed convolutions, stride 2; each but the innermost
                                                reads the encoder's features of its size beside the decoder's
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from p2p_deploy.generators.norms import MAX_WIDTH, Norm, make_norm
from p2p_deploy.generators.pan import PathAggregation
from p2p_deploy.spec.checks import check_choice, check_integer

UNET_DOWNS = (5, 12)  # from, to
Neck = Literal["none", "pan"]


class Down(nn.Module):
    """LeakyReLU, 4x4 convolution with stride 2, norm: (N, C, H, W) to (N, C', H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, *, bias: bool, activate: bool) -> None:
        super().__init__()
        self.activation = nn.LeakyReLU(0.2) if activate else nn.Identity()
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)
        self.norm = make_norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        return self.norm(self.conv(self.activation(x)))


class Up(nn.Module):
    """ReLU, 4x4 transposed convolution with stride 2, norm, dropout: (N, C, H, W) to (N, C', 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, *, bias: bool, dropout: bool) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)
        self.norm = make_norm(norm, out_channels)
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        return self.dropout(self.norm(self.conv(self.activation(x))))


class UNet(nn.Module):
    """U-Net: (N, in_channels, H, W) to (N, out_channels, H, W), float, both in [-1, 1].

    Widths are ngf, 2 ngf, 4 ngf, 8 ngf, 8 ngf, … The outermost and the innermost down have no norm. Dropout follows
    the num_downs - 5 ups that come after the innermost one, all 8 ngf wide. Convolutions have a bias where the norm is
    InstanceNorm, which has no shift of its own in the published code; the outermost up always has one. Height and width
    must be multiples of 2**num_downs. ``unet_256`` of the paper is num_downs=8, ngf=64; ``unet_128`` is num_downs=7.
    With ``neck="pan"`` the decoder reads the encoder's features after a path aggregation, see ``pan``.

    Raises:
        SpecError: for a depth or width that does not make a U-Net.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        num_downs: int = 8,
        ngf: int = 64,
        norm: Norm = "batch",
        dropout: bool = True,
        neck: Neck = "none",
    ) -> None:
        check_integer("num_downs", num_downs, *UNET_DOWNS)
        check_integer("ngf", ngf, 1, MAX_WIDTH)
        check_choice("neck", neck, get_args(Neck))
        super().__init__()
        self.num_downs = num_downs
        inner = num_downs - 1
        bias = norm == "instance"
        width = [ngf * min(2**level, 8) for level in range(num_downs)]
        self.downs = nn.ModuleList(
            Down(
                width[level - 1] if level else in_channels,
                width[level],
                norm if 0 < level < inner else "none",
                bias=bias,
                activate=level > 0,
            )
            for level in range(num_downs)
        )
        self.neck = PathAggregation(width, norm) if neck == "pan" else None
        self.ups = nn.ModuleList(
            Up(
                width[level] if level == inner else 2 * width[level],
                width[level - 1] if level else out_channels,
                norm if level else "none",
                bias=bias or level == 0,
                dropout=dropout and 4 <= level < inner,
            )
            for level in range(num_downs)
        )
        self.size_multiple = self.min_size = 2**num_downs

    def forward(self, x: Tensor) -> Tensor:
        """Translate images (N, in_channels, H, W) in [-1, 1] into (N, out_channels, H, W) in [-1, 1]."""
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        if self.neck is not None:
            skips = self.neck(skips)
        x = self.ups[-1](skips.pop())
        for up in reversed(self.ups[:-1]):
            x = up(torch.cat([skips.pop(), x], dim=1))
        return torch.tanh(x)
