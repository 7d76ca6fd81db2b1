"""The generator of SPADE (GauGAN): label maps modulate the norms, so that no layer can wash them out.

Park, Liu, Wang, Zhu: Semantic Image Synthesis with Spatially-Adaptive Normalization (CVPR 2019), section 3, figures 2
to 4, appendix A.

    smallest label map, or a latent vector ─ block ─ up ─ block ─ block ─ up ─ block ─ … ─ up ─ block ─ 3x3 conv
                                               │            │       │            │                │
                                              label map in the size of the features, in every block
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from p2p_deploy.errors import SpecError
from p2p_deploy.spec.checks import check_choice, check_integer

Upsampling = Literal["normal", "more", "most"]
UPSAMPLING_LEVELS = {"normal": 5, "more": 6, "most": 7}
SpadeNorms = Literal["instance", "batch"]
HIDDEN = 128


class SpadeNorm(nn.Module):
    """Norm without parameters, then scale and shift at every place, computed from the label map (figure 3)."""

    def __init__(self, channels: int, label_channels: int, norm: SpadeNorms, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False) if norm == "batch" else nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(label_channels, HIDDEN, kernel, padding=kernel // 2)
        self.activation = nn.ReLU()
        self.scale = nn.Conv2d(HIDDEN, channels, kernel, padding=kernel // 2)
        self.shift = nn.Conv2d(HIDDEN, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Features (N, C, H, W) and labels (N, L, H, W) to (N, C, H, W)."""
        found = self.activation(self.shared(labels))
        return self.norm(x) * (1 + self.scale(found)) + self.shift(found)


class SpadeBlock(nn.Module):
    """Residual block with SPADE norms; where the width changes, its shortcut is learned too (figure 4)."""

    def __init__(self, in_channels: int, out_channels: int, label_channels: int, norm: SpadeNorms, kernel: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.norm_0 = SpadeNorm(in_channels, label_channels, norm, kernel)
        self.conv_0 = nn.Conv2d(in_channels, middle, 3, padding=1)
        self.norm_1 = SpadeNorm(middle, label_channels, norm, kernel)
        self.conv_1 = nn.Conv2d(middle, out_channels, 3, padding=1)
        self.activation = nn.LeakyReLU(0.2)
        self.learned_shortcut = in_channels != out_channels
        if self.learned_shortcut:
            self.norm_s = SpadeNorm(in_channels, label_channels, norm, kernel)
            self.conv_s = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, C, H, W) and labels (N, L, H, W) to (N, C', H, W)."""
        y = self.conv_0(self.activation(self.norm_0(x, labels)))
        y = self.conv_1(self.activation(self.norm_1(y, labels)))
        return (self.conv_s(self.norm_s(x, labels)) if self.learned_shortcut else x) + y


class Spade(nn.Module):
    """One-hot labels and edges (N, in_channels, H, W) to images (N, out_channels, H, W) in [-1, 1].

    Args:
        in_channels: one-hot channels, and one of edges where they are used.
        out_channels: of the output.
        ngf: width of the widest layers divided by 16.
        upsampling: ``normal`` doubles the size five times, ``more`` six and ``most`` seven times.
        norm: what is modulated; sync-batch norm is ``batch`` when it is not trained.
        kernel: size of the convolutions that look at the labels.
        z_dim: length of the latent vector that a network trained with a VAE starts from; 0 for one that starts from the
            labels. The vector itself is the buffer ``z``, zeros (the mean of the prior) until it is set.
        base_size: (height, width) of the features that the latent vector becomes; only with ``z_dim``.

    Raises:
        SpecError: for sizes that do not make a network.
    """

    z: Tensor

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        ngf: int = 64,
        upsampling: Upsampling = "normal",
        norm: SpadeNorms = "instance",
        kernel: int = 3,
        z_dim: int = 0,
        base_size: tuple[int, int] | None = None,
    ) -> None:
        check_choice("upsampling", upsampling, get_args(Upsampling))
        check_choice("norm", norm, get_args(SpadeNorms))
        check_integer("ngf", ngf, 2, 1024)
        if kernel not in (1, 3, 5, 7) or bool(z_dim) != bool(base_size):
            raise SpecError(
                "A SPADE generator has an odd kernel up to 7, and a base_size exactly where it has a z_dim; got "
                f"kernel={kernel}, z_dim={z_dim}, base_size={base_size}."
            )
        super().__init__()
        self.levels, self.z_dim, self.base_size = UPSAMPLING_LEVELS[upsampling], z_dim, base_size
        width = [16 * ngf] * 3 + [8 * ngf, 4 * ngf, 2 * ngf, ngf] + ([ngf // 2] if upsampling == "most" else [])
        # By how much each block's features are smaller than the image.
        self.scales = [2 ** (self.levels - step) for step in range(self.levels + 1)]
        if upsampling == "normal":
            self.scales.insert(1, self.scales[1])  # the two blocks after the first have the same size
        self.start: nn.Module
        if base_size:
            self.start = nn.Linear(z_dim, width[0] * math.prod(base_size))
            self.register_buffer("z", torch.zeros(z_dim))
        else:
            self.start = nn.Conv2d(in_channels, width[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            SpadeBlock(width[max(index - 1, 0)], width[index], in_channels, norm, kernel) for index in range(len(width))
        )
        self.upsample = nn.Upsample(scale_factor=2)
        self.activation = nn.LeakyReLU(0.2)
        self.tail = nn.Conv2d(width[-1], out_channels, 3, padding=1)
        self.size_multiple, self.min_size = 2**self.levels, 2 * 2**self.levels

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only (height, width) that a network with a latent vector takes, pixels."""
        if self.base_size is None:
            return None
        return self.base_size[0] * 2**self.levels, self.base_size[1] * 2**self.levels

    def forward(self, labels: Tensor, z: Tensor | None = None) -> Tensor:
        """Paint the label map, from coarse to fine.

        Args:
            labels: (N, in_channels, H, W).
            z: (N, z_dim), latent vectors instead of the buffer ``z``; only with ``z_dim``.
        """
        # Taking every n-th place is what nearest neighbours do to a size that n divides.
        maps = {scale: labels[:, :, ::scale, ::scale] for scale in self.scales}
        if self.base_size:
            start = self.start(self.z[None] if z is None else z).to(labels.dtype)
            x = start.view(len(start), -1, *self.base_size).expand(labels.shape[0], -1, -1, -1)
        else:
            x = self.start(maps[self.scales[0]])
        before = self.scales[0]
        for block, scale in zip(self.blocks, self.scales, strict=True):
            if scale != before:
                x = self.upsample(x)
            x, before = block(x, maps[scale]), scale
        return self.tail(self.activation(x)).tanh()
