"""The U-Net of the PyTorch-GAN collection: activations after the norms, and a head that up-samples.

After Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (CVPR 2017), with the
head that Odena, Dumoulin, Olah (Deconvolution and Checkerboard Artifacts, Distill 2016) advise.

    input ─ down 0 ─ down 1 ─ … ─ down n-1      4x4 convolution with stride 2, norm, LeakyReLU
              │        │            │
    output ─ head ── up 0 ── … ── up n-2        4x4 transposed convolution with stride 2, norm, ReLU; then the encoder's
                                                features of this size beside it, as they are
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from p2p_deploy.generators.norms import MAX_WIDTH, Norm, make_norm
from p2p_deploy.generators.unet import UNET_DOWNS
from p2p_deploy.spec.checks import check_integer


class Down(nn.Module):
    """4x4 convolution with stride 2, norm, LeakyReLU: (N, C, H, W) to (N, C', H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, *, dropout: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.norm = make_norm(norm, out_channels)
        self.activation = nn.LeakyReLU(0.2)
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        return self.dropout(self.activation(self.norm(self.conv(x))))


class Up(nn.Module):
    """4x4 transposed convolution with stride 2, norm, ReLU: (N, C, H, W) to (N, C', 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, *, dropout: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.norm = make_norm(norm, out_channels)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        return self.dropout(self.activation(self.norm(self.conv(x))))


class Head(nn.Module):
    """Nearest neighbours and a 4x4 convolution: (N, C, H, W) to (N, C', 2H, 2W) without a checkerboard.

    The extra row and column of zeros at the top and the left make up for the even kernel.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2)
        self.pad = nn.ZeroPad2d((1, 0, 1, 0))
        self.conv = nn.Conv2d(in_channels, out_channels, 4, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        return self.conv(self.pad(self.upsample(x)))


class UNetUpsample(nn.Module):
    """(N, in_channels, H, W) to (N, out_channels, H, W), float, both in [-1, 1].

    Widths are ngf, 2 ngf, 4 ngf, 8 ngf, 8 ngf, … The outermost and the innermost down have no norm. Dropout is in the
    downs from the fourth and in the num_downs - 4 innermost ups. Height and width must be multiples of 2**num_downs.

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
        norm: Norm = "instance",
        dropout: bool = True,
    ) -> None:
        check_integer("num_downs", num_downs, *UNET_DOWNS)
        check_integer("ngf", ngf, 1, MAX_WIDTH)
        super().__init__()
        self.num_downs = num_downs
        inner = num_downs - 1
        width = [ngf * min(2**level, 8) for level in range(num_downs)]
        self.downs = nn.ModuleList(
            Down(
                width[level - 1] if level else in_channels,
                width[level],
                norm if 0 < level < inner else "none",
                dropout=dropout and level >= 3,
            )
            for level in range(num_downs)
        )
        self.ups = nn.ModuleList(
            Up(
                width[level + 1] * (1 if level + 1 == inner else 2),
                width[level],
                norm,
                dropout=dropout and level >= 3,
            )
            for level in range(inner)
        )
        self.head = Head(2 * width[0], out_channels)
        self.size_multiple = self.min_size = 2**num_downs

    def forward(self, x: Tensor) -> Tensor:
        """Translate images (N, in_channels, H, W) in [-1, 1] into (N, out_channels, H, W) in [-1, 1]."""
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in reversed(self.ups):
            x = torch.cat([up(x), skips.pop()], dim=1)
        return self.head(x).tanh()
