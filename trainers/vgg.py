"""The perceptual loss of pix2pixHD and SPADE: how unlike two pictures look to a network that knows many.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution (ECCV 2016); Wang et al.
(CVPR 2018), section 3.3 and appendix. The network is VGG19 (Simonyan, Zisserman: Very Deep Convolutional Networks for
Large-Scale Image Recognition, ICLR 2015), whose weights are read from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.options import SAVE_WEIGHTS
from trainers.weights import read_weights

# Convolutions up to relu5_1, each as many times as wide as the first; "M" halves the size.
VGG19 = (1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8)
# Where relu1_1, relu2_1 … relu5_1 are among the layers, as torchvision counts them, and what they weigh.
WEIGHTS = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}
# Of the pictures of ImageNet, from 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def stack(layers: Sequence[int | str], width: int) -> nn.Sequential:
    """3x3 convolutions, each with its ReLU, and pooling, numbered as in torchvision."""
    found: list[nn.Module] = []
    channels = 3
    for layer in layers:
        if isinstance(layer, str):
            found.append(nn.MaxPool2d(2))
        else:
            found += [nn.Conv2d(channels, width * layer, 3, padding=1), nn.ReLU()]
            channels = width * layer
    return nn.Sequential(*found)


class Perceptual(nn.Module):
    """L1 between what five layers of VGG19 see in two pictures.

    Args:
        width: of the first layer; VGG19 has 64.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.features = stack(VGG19, width)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def see(self, pictures_NCHW: Tensor) -> list[Tensor]:
        """What the five layers give for (N, 3, H, W) in [-1, 1]."""
        x = ((pictures_NCHW + 1) / 2 - self.mean) / self.deviation
        seen = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in WEIGHTS:
                seen.append(x)
        return seen

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """The loss, a float32 scalar; (N, 3, H, W) in [-1, 1] each, of at least 16 x 16 pixels.

        ``real`` gets no gradients.
        """
        with torch.no_grad():
            wanted = self.see(real)
        total = torch.zeros((), device=fake.device)
        for weight, one, other in zip(WEIGHTS.values(), self.see(fake), wanted, strict=True):
            total = total + weight * F.l1_loss(one.float(), other.float())
        return total


def read_vgg(path: Path) -> Perceptual:
    """The loss with the weights of torchvision's VGG19. Raises like ``read_weights``."""
    return read_weights(path, Perceptual, "torchvision's VGG19", SAVE_WEIGHTS.format(name="vgg19")).eval()
