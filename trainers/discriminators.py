"""Discriminators. They end in logits: the sigmoid belongs to the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from p2p_deploy.generators.norms import Norm, make_norm


class PatchGAN(nn.Module):
    """Markovian discriminator: (N, in_channels, H, W) to logits (N, 1, H', W'), one for each overlapping patch.

    Isola et al. (CVPR 2017), section 3.2.2 and appendix 6.1.2. With ``n_layers=3`` each logit sees 70 x 70 pixels, and
    inputs of 128, 256, 286 and 512 give 14, 30, 33 and 62 logits a side.

    Args:
        in_channels: channels of input and output picture together.
        ndf: width of the first layer.
        n_layers: number of stride-2 layers.
        norm: after all convolutions but the first and the last.
        spectral: divide the weights of every convolution but the last by their largest singular value (Miyato et al.,
            Spectral Normalization for Generative Adversarial Networks, ICLR 2018).
        padding: of the convolutions: 1 in pix2pix and CycleGAN, 2 in pix2pixHD and SPADE.
    """

    def __init__(
        self,
        in_channels: int,
        ndf: int = 64,
        n_layers: int = 3,
        norm: Norm = "batch",
        *,
        spectral: bool = False,
        padding: int = 1,
    ) -> None:
        super().__init__()

        def conv(wide: int, wider: int, stride: int, bias: bool) -> nn.Module:
            layer = nn.Conv2d(wide, wider, 4, stride=stride, padding=padding, bias=bias)
            return spectral_norm(layer) if spectral else layer

        stages: list[nn.Module] = [nn.Sequential(conv(in_channels, ndf, 2, True), nn.LeakyReLU(0.2))]
        width = ndf
        for level in range(1, n_layers + 1):
            wider = ndf * min(2**level, 8)
            stride = 2 if level < n_layers else 1
            layers = [conv(width, wider, stride, norm != "batch"), make_norm(norm, wider), nn.LeakyReLU(0.2)]
            stages.append(nn.Sequential(*layers))
            width = wider
        stages.append(nn.Conv2d(width, 1, 4, stride=1, padding=padding))
        self.stages = nn.ModuleList(stages)

    def features(self, x: Tensor) -> list[Tensor]:
        """What each layer gives, the logits last."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, input_and_output: Tensor) -> Tensor:
        """Judge pairs, concatenated along the channels."""
        return self.features(input_and_output)[-1]


class StridedPatchGAN(nn.Module):
    """(N, in_channels, H, W) to logits (N, 1, H/16, W/16), each of which sees 94 x 94 pixels.

    Of the PyTorch-GAN collection: four 4x4 convolutions with stride 2, InstanceNorm after all but the first; then one
    of stride 1, with a row and a column of zeros more at the top and the left, which make up for the even kernel.

    Args:
        in_channels: channels of input and output picture together.
        ndf: width of the first layer.
    """

    def __init__(self, in_channels: int, ndf: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level in range(4):
            layers.append(nn.Conv2d(ndf * 2 ** (level - 1) if level else in_channels, ndf * 2**level, 4, 2, 1))
            layers += [make_norm("instance" if level else "none", ndf * 2**level), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(8 * ndf, 1, 4, 1, 1, bias=False))

    def forward(self, input_and_output: Tensor) -> Tensor:
        """Judge pairs, concatenated along the channels."""
        return self.layers(input_and_output)


class MultiScale(nn.Module):
    """Several PatchGANs of the same make, each on a picture half as large as the one before it.

    Wang et al. (CVPR 2018), section 3.2.

    Args:
        discriminators: the one for the full size first.
    """

    def __init__(self, discriminators: list[PatchGAN]) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators)
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """For each scale, the largest first, what each layer gives, the logits last."""
        found = []
        for discriminator in self.discriminators:
            assert isinstance(discriminator, PatchGAN)
            found.append(discriminator.features(x))
            x = self.halve(x)
        return found


class MLPDiscriminator(nn.Module):
    """Fully connected: pictures (N, channels, size, size), and classes, to logits (N, 1). 784-512-256-1 by default.

    Goodfellow et al. (NeurIPS 2014); Mirza, Osindero (2014), section 3.2: the class is embedded and joined.

    Args:
        channels: of the pictures.
        size: height and width of the pictures, pixels.
        ndf: width of the first layer; the second has half as many.
        classes: how many there are; 0 for a discriminator that is told none.
        embedding: length of the vector that a class becomes.
    """

    def __init__(
        self, channels: int = 1, size: int = 28, ndf: int = 512, classes: int = 0, embedding: int = 32
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, embedding) if classes else None
        self.layers = nn.Sequential(
            nn.Linear(channels * size * size + (embedding if classes else 0), ndf),
            nn.LeakyReLU(0.2),
            nn.Linear(ndf, max(1, ndf // 2)),
            nn.LeakyReLU(0.2),
            nn.Linear(max(1, ndf // 2), 1),
        )

    def forward(self, pictures_NCHW: Tensor, classes_N: Tensor) -> Tensor:
        """Judge each picture as one of its class; classes, whole numbers, are not looked at where none are told."""
        x = pictures_NCHW.flatten(1)
        if self.embed:
            x = torch.cat([x, self.embed(classes_N).to(x.dtype)], dim=1)
        return self.layers(x)


def pair(input_NCHW: Tensor, output_NCHW: Tensor) -> Tensor:
    """What a conditional discriminator sees: input and output along the channels."""
    return torch.cat([input_NCHW, output_NCHW], dim=1)
