"""Discriminators. They end in logits: the sigmoid belongs to the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchGAN(nn.Module):
    """Markovian discriminator: (N, in_channels, H, W) to logits (N, 1, H', W'), one for each overlapping patch.

    Isola et al. (CVPR 2017), section 3.2.2 and appendix 6.1.2. With ``n_layers=3`` each logit sees 70 x 70 pixels, and
    inputs of 128, 256, 286 and 512 give 14, 30, 33 and 62 logits a side.

    Args:
        in_channels: channels of input and output picture together.
        ndf: width of the first layer.
        n_layers: number of stride-2 layers.
    """

    def __init__(self, in_channels: int, ndf: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = ndf
        for level in range(1, n_layers + 1):
            wider = ndf * min(2**level, 8)
            stride = 2 if level < n_layers else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        layers.append(nn.Conv2d(width, 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, input_and_output: Tensor) -> Tensor:
        """Judge pairs, concatenated along the channels."""
        return self.layers(input_and_output)


def pair(input_NCHW: Tensor, output_NCHW: Tensor) -> Tensor:
    """What a conditional discriminator sees: input and output along the channels."""
    return torch.cat([input_NCHW, output_NCHW], dim=1)
