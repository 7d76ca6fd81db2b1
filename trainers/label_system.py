"""What pix2pixHD and SPADE have in common: PatchGANs on a pyramid of pictures, whose features are matched.

Wang et al. (CVPR 2018), sections 3.2 and 3.3; Park et al. (CVPR 2019), section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.spec import ModelSpec
from trainers import vgg
from trainers.discriminators import MultiScale, PatchGAN, pair
from trainers.labelled import to_colours
from trainers.losses import feature_matching_loss
from trainers.networks import init_weights
from trainers.system import System

FEATURE_MATCHING_WEIGHT = 10.0
PERCEPTUAL_WEIGHT = 10.0


class LabelSystem(System):
    """The base of both: a subclass makes the generator and says what a step is."""

    def __init__(self, fabric: Fabric, options: Any, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        self.given = FrameModel(nn.Identity(), spec).values  # as when it is deployed
        self.perceptual: nn.Module | None = None

    def add_discriminators(self, count: int, ndf: int, *, spectral: bool) -> None:
        """One for each scale, together the network ``D``."""
        channels = self.spec.arch_kwargs["in_channels"] + self.spec.output.channels
        scales = [PatchGAN(channels, ndf, norm="instance", spectral=spectral, padding=2) for _ in range(count)]
        self.D = self.add_network("D", init_weights(MultiScale(scales)))

    def add_perceptual(self, weights: str | None) -> None:
        """Compare what VGG19 sees, where there are weights for it."""
        self.perceptual = self.fabric.to_device(vgg.read_vgg(Path(weights))) if weights else None

    def generator_losses(
        self, given: Tensor, fake: Tensor, real: Tensor, gan_loss: Callable[[list[list[Tensor]]], Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses by name, and their weighted sum.

        Args:
            given: what the generator was given, (N, C, H, W).
            fake: what it painted of that, (N, 3, H, W).
            real: the target, (N, 3, H, W).
            gan_loss: of the layers of every discriminator, the logits last.
        """
        with self.frozen("D"):
            seen_fake = self.networks["D"](pair(given, fake))
            with torch.no_grad():
                seen_real = self.networks["D"](pair(given, real))
        losses = {
            "G_gan": gan_loss(seen_fake),
            "G_features": feature_matching_loss([one[:-1] for one in seen_fake], [one[:-1] for one in seen_real]),
        }
        total = losses["G_gan"] + FEATURE_MATCHING_WEIGHT * losses["G_features"]
        if self.perceptual:
            with self.fabric.autocast():
                losses["G_vgg"] = self.perceptual(fake, real)
            total = total + PERCEPTUAL_WEIGHT * losses["G_vgg"]
        return losses, total

    def show(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        """Input, labels in colours; output, target."""
        return [to_colours(batch[0]), *self.compare(batch)]

    def compare(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Output, in the mean of all styles where there are some, and target."""
        return self.generator(self.given(*batch[:-1])), batch[-1]
