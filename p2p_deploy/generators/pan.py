"""Path aggregation, an optional neck between the encoder and the decoder of a U-Net.

Liu, Qi, Qin, Shi, Jia: Path Aggregation Network for Instance Segmentation (CVPR 2018), section 3.1. What is seen at the
largest scale reaches the deepest features over a few convolutions, not over the whole encoder.

    encoder     f0      f1      f2      …
                 │       │       │
    neck        f0 ─↓─ (+) ─↓─ (+) ─ …      ↓ 3x3 convolution with stride 2, ReLU; after (+) a 3x3 convolution, ReLU
                 │       │       │
    decoder     n0      n1      n2      …
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from p2p_deploy.generators.norms import Norm, make_norm


class Conv(nn.Module):
    """3x3 convolution, norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=norm != "batch")
        self.norm = make_norm(norm, out_channels)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        return self.activation(self.norm(self.conv(x)))


class PathAggregation(nn.Module):
    """Features of an encoder, the largest first, each half as large as the one before, to as many of the same shapes.

    Args:
        widths: their channels.
        norm: after every convolution, but not at the smallest scale, which may be a single position.
    """

    def __init__(self, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        norms: list[Norm] = [*([norm] * (len(widths) - 2)), "none"]
        self.downs = nn.ModuleList(
            Conv(width, wider, each, stride=2) for width, wider, each in zip(widths, widths[1:], norms, strict=False)
        )
        self.merges = nn.ModuleList(
            Conv(width, width, each, stride=1) for width, each in zip(widths[1:], norms, strict=True)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Aggregate, from the largest to the smallest."""
        found = [features[0]]
        for down, merge, feature in zip(self.downs, self.merges, features[1:], strict=True):
            found.append(merge(feature + down(found[-1])))
        return found
