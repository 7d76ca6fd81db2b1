"""The Inception-v3 of the Frechet and the kernel inception distance, with weights from a file.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision (CVPR 2016); the
network of Heusel et al.: GANs Trained by a Two Time-Scale Update Rule (NeurIPS 2017), which averages inside its borders
only and takes a maximum in its last block.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.weights import read_weights

SIDE = 299  # pixels
Kernel = int | tuple[int, int]
Layer = tuple[int, Kernel]  # width and kernel
# Convolutions one after the other; the last may be two side by side.
Path_ = list[Layer | list[Layer]]


class Conv(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, channels: int, width: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H', W')."""
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Several paths side by side, and a pooling one, their channels joined.

    Args:
        channels: of the input.
        paths: of convolutions that keep the size, by their names in the published file.
        pool: ``average`` or ``maximum`` before a convolution of ``pool_width``; or ``halve``, a maximum alone, where
            the last convolution of every path has a stride of 2 and no padding.
        pool_width: see there.
    """

    def __init__(self, channels: int, paths: dict[str, Path_], pool: str, pool_width: int = 0) -> None:
        super().__init__()
        self.paths: list[list[list[str]]] = []
        self.pool, self.channels = pool, pool_width or channels
        for path, steps in paths.items():
            wide, names = channels, []
            for number, step in enumerate(steps, 1):
                layers = step if isinstance(step, list) else [step]
                place = f"{path}_{number}" if len(steps) > 1 else path
                names.append([f"{place}{letter}" for letter in "ab"] if len(layers) > 1 else [place])
                halving = pool == "halve" and number == len(steps)
                for name, (width, kernel) in zip(names[-1], layers, strict=True):
                    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
                    padding = 0 if halving else (sides[0] // 2, sides[1] // 2)
                    self.add_module(name, Conv(wide, width, kernel, 2 if halving else 1, padding))
                wide = layers[0][0]
            self.paths.append(names)
            self.channels += sum(width for width, _ in layers)
        if pool_width:
            self.branch_pool = Conv(channels, pool_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, self.channels, H', W')."""
        found = []
        for path in self.paths:
            parts = [x]
            for together in path:
                parts = [self.get_submodule(name)(parts[0]) for name in together]
            found += parts
        if self.pool == "halve":
            found.append(F.max_pool2d(x, 3, 2))
        elif self.pool == "maximum":
            found.append(self.branch_pool(F.max_pool2d(x, 3, 1, 1)))
        else:
            found.append(self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)))
        return torch.cat(found, dim=1)


WIDE, HIGH = (1, 7), (7, 1)


def _a(channels: int, pool_width: int) -> Mixed:
    deep: Path_ = [(64, 1), (96, 3), (96, 3)]
    paths: dict[str, Path_] = {"branch1x1": [(64, 1)], "branch5x5": [(48, 1), (64, 5)], "branch3x3dbl": deep}
    return Mixed(channels, paths, "average", pool_width)


def _b(channels: int) -> Mixed:
    return Mixed(channels, {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}, "halve")


def _c(channels: int, width: int) -> Mixed:
    paths: dict[str, Path_] = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, WIDE), (192, HIGH)],
        "branch7x7dbl": [(width, 1), (width, HIGH), (width, WIDE), (width, HIGH), (192, WIDE)],
    }
    return Mixed(channels, paths, "average", 192)


def _d(channels: int) -> Mixed:
    long: Path_ = [(192, 1), (192, WIDE), (192, HIGH), (192, 3)]
    return Mixed(channels, {"branch3x3": [(192, 1), (320, 3)], "branch7x7x3": long}, "halve")


def _e(channels: int, pool: str) -> Mixed:
    both: list[Layer] = [(384, (1, 3)), (384, (3, 1))]
    paths: dict[str, Path_] = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), both],
        "branch3x3dbl": [(448, 1), (384, 3), both],
    }
    return Mixed(channels, paths, pool, 192)


class Inception(nn.Module):
    """Pictures to 2048 features, by the names of the layers in the published file."""

    num_features = 2048  # by this name for torchmetrics

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32), _a(256, 64), _a(288, 64)
        self.Mixed_6a = _b(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            _c(768, 128),
            _c(768, 160),
            _c(768, 160),
            _c(768, 192),
        )
        self.Mixed_7a = _d(768)
        self.Mixed_7b, self.Mixed_7c = _e(1280, "average"), _e(2048, "maximum")
        self.requires_grad_(False)

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] of any size to (N, 2048)."""
        x = resize(pictures_NCHW, SIDE)
        x = (x * 127.5 - 0.5) / 128  # (level - 128) / 128, as the network was trained
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, layer in self.named_children():
            if name.startswith("Mixed"):
                x = layer(x)
        return x.mean(dim=(2, 3))


def resize(pictures_NCHW: Tensor, side: int) -> Tensor:
    """Bilinear as TensorFlow 1 did it, by whose results distances are published: corners, not centres, are aligned."""
    for axis in (2, 3):
        length = pictures_NCHW.shape[axis]
        at = torch.arange(side, device=pictures_NCHW.device) * (length / side)
        low = at.long()
        share = (at - low).view(-1, *([1] * (3 - axis)))
        one, other = (pictures_NCHW.index_select(axis, index) for index in (low, (low + 1).clamp(max=length - 1)))
        pictures_NCHW = one + (other - one) * share
    return pictures_NCHW


def read_inception(path: Path) -> Inception:
    """The network with the published weights, ``pt_inception-2015-12-05-6726825d.pth``.

    Raises like ``read_weights``.
    """
    return read_weights(path, lambda width: Inception(), "the Inception-v3 of the Frechet inception distance").eval()
