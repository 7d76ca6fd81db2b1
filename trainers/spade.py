"""SPADE (GauGAN): label maps modulate the generator's norms; hinge loss against PatchGANs on a pyramid of pictures.

Park, Liu, Wang, Zhu: Semantic Image Synthesis with Spatially-Adaptive Normalization (CVPR 2019). With a latent vector,
an encoder of pictures and the generator are a variational auto-encoder (Kingma, Welling: Auto-Encoding Variational
Bayes, ICLR 2014): what is deployed starts from the mean of all styles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from p2p_deploy import __version__
from p2p_deploy.generators import build_generator
from p2p_deploy.generators.spade import SpadeBlock
from p2p_deploy.spec import ImageSpec, ModelSpec
from trainers.discriminators import pair
from trainers.label_system import LabelSystem
from trainers.labelled import find_material, inputs_of
from trainers.losses import hinge_generator_loss, hinge_loss, kl_divergence
from trainers.material import Material
from trainers.networks import init_weights
from trainers.options import SPADEOptions

KL_WEIGHT = 0.05
# Two time scales: the discriminators learn faster, instead of more often (Heusel et al., NeurIPS 2017).
LEARNING_RATE_G, LEARNING_RATE_D = 1e-4, 4e-4
BETAS = (0.0, 0.9)
SCALES = 2
ENCODED_SIDE = 256  # pictures are encoded at one size, so that the encoder can end in a linear layer


class Encoder(nn.Module):
    """Pictures (N, 3, H, W) to the mean and the logarithm of the variance of their style, (N, z_dim) each.

    Park et al., figure 14 of the appendix.
    """

    def __init__(self, width: int, z_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for factor in (1, 2, 4, 8, 8, 8):
            conv = nn.Conv2d(channels, factor * width, 3, stride=2, padding=1, bias=False)
            layers += [spectral_norm(conv), nn.InstanceNorm2d(factor * width), nn.LeakyReLU(0.2)]
            channels = factor * width
        self.convs = nn.Sequential(*layers)
        found = channels * (ENCODED_SIDE // 2**6) ** 2
        self.mean, self.log_variance = nn.Linear(found, z_dim), nn.Linear(found, z_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Look at pictures of any size in [-1, 1]."""
        x = self.convs(F.interpolate(x, (ENCODED_SIDE, ENCODED_SIDE), mode="bilinear")).flatten(1)
        return self.mean(x), self.log_variance(x)


class SPADE(LabelSystem):
    """The networks, their optimisers, and one step of training."""

    @staticmethod
    def material(data: Path, options: SPADEOptions) -> Material:
        """Label maps and pictures, see ``trainers.labelled``."""
        return find_material(data, make_spec(options), options)

    def __init__(self, fabric: Fabric, options: SPADEOptions, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        generator = init_weights(build_generator(spec.arch, spec.arch_kwargs))
        for block in [module for module in generator.modules() if isinstance(module, SpadeBlock)]:
            for conv in [getattr(block, name, None) for name in ("conv_0", "conv_1", "conv_s")]:
                if conv is not None:
                    spectral_norm(conv)
        self.G = self.add_network("G", generator)
        self.add_discriminators(SCALES, options.ndf, spectral=True)
        painters = ["G"]
        if options.z_dim:
            self.E = self.add_network("E", init_weights(Encoder(options.ngf, options.z_dim)))
            painters.append("E")
        self.add_perceptual(options.vgg)
        self.add_optimizer("G", *painters, lr=LEARNING_RATE_G, betas=BETAS)
        self.add_optimizer("D", "D", lr=LEARNING_RATE_D, betas=BETAS)

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Generator first, then discriminators, on maps and the target; see ``Labelled``."""
        *frames, real = batch
        given = self.given(*frames)
        losses: dict[str, Tensor] = {}
        if "E" in self.networks:
            mean, log_variance = self.E(real)
            losses["G_kl"] = kl_divergence(mean, log_variance)
            fake = self.G(given, mean + self.noise(*mean.shape) * torch.exp(0.5 * log_variance))
        else:
            fake = self.G(given)

        found, loss_G = self.generator_losses(given, fake, real, generator_loss)
        losses |= found
        if "G_kl" in losses:
            loss_G = loss_G + KL_WEIGHT * losses["G_kl"]
        self.backward_and_step("G", loss_G)

        losses["D_fake"] = mean_over_scales(self.D(pair(given, fake.detach())), real=False)
        losses["D_real"] = mean_over_scales(self.D(pair(given, real)), real=True)
        self.backward_and_step("D", losses["D_fake"] + losses["D_real"])
        return {name: loss.detach() for name, loss in losses.items()}


def generator_loss(seen: list[list[Tensor]]) -> Tensor:
    """The hinge loss of the generator."""
    return torch.stack([hinge_generator_loss(layers[-1]) for layers in seen]).mean()


def mean_over_scales(seen: list[list[Tensor]], *, real: bool) -> Tensor:
    """The hinge loss of the discriminators' logits."""
    return torch.stack([hinge_loss(layers[-1], real) for layers in seen]).mean()


def make_spec(options: SPADEOptions) -> ModelSpec:
    """The ModelSpec of the generator that ``options`` describe.

    Raises:
        SpecError: the size does not suit the network, or there is no such network.
    """
    size = options.size, options.width or options.size
    inputs, channels = inputs_of(options.labels, instances=options.instances)
    upsampling = options.upsampling or ("normal" if min(size) < 512 else "more" if min(size) < 1024 else "most")
    kwargs: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": 3,
        "ngf": options.ngf,
        "upsampling": upsampling,
        "norm": options.norm,
    }
    with torch.device("meta"):
        generator: Any = build_generator("spade", kwargs)
    if options.z_dim:
        kwargs |= {"z_dim": options.z_dim, "base_size": [side // generator.size_multiple for side in size]}
    return ModelSpec(
        name="spade",
        arch="spade",
        arch_kwargs=kwargs,
        inputs=inputs,
        output=ImageSpec.for_channels(3),
        size_multiple=generator.size_multiple,
        min_size=generator.min_size,
        train_size=size,
        fixed_size=size if options.z_dim else None,
        created_with=f"p2p-deploy {__version__}",
    )
