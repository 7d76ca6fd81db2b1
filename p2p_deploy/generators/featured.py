"""pix2pixHD's feature channels, without the encoder that made them in training.

Wang et al.: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (CVPR 2018), section 3.4:
the generator takes the label map and, beside it, features that are constant over each instance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Featured(nn.Module):
    """A generator whose last input channels are looked up for each class: (N, C, H, W) to (N, C_out, H, W).

    Args:
        generator: takes (N, C + F, H, W).
        table: (classes, F) float32, the features of each class; the first ``classes`` input channels are one-hot.
    """

    def __init__(self, generator: Any, table: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.size_multiple: int = generator.size_multiple
        self.min_size: int = generator.min_size
        self.lookup = nn.Conv2d(table.shape[0], table.shape[1], 1, bias=False)
        self.lookup.weight = nn.Parameter(table.T[:, :, None, None].clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Append the features and translate."""
        features = self.lookup(x[:, : self.lookup.in_channels])
        return self.generator(torch.cat([x, features], dim=1))
