"""GAN and CGAN: fully connected networks that draw small pictures from latent vectors, and from a class.

Goodfellow et al.: Generative Adversarial Nets (NeurIPS 2014). Mirza, Osindero: Conditional Generative Adversarial Nets
(2014).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from p2p_deploy import __version__
from p2p_deploy.generators import build_generator
from p2p_deploy.spec import ImageSpec, ModelSpec
from trainers.classes import Pictures, find_classes, find_held_out, find_pictures
from trainers.data import batch_of
from trainers.discriminators import MLPDiscriminator
from trainers.losses import bce_gan_loss
from trainers.material import Material
from trainers.options import GANOptions
from trainers.system import System

LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)
PREVIEWS = 8  # rows of a sample picture
COLUMNS = 8  # of it, or the first ten classes
Preview = tuple[Tensor, Tensor]


class GAN(System):
    """The networks, their optimisers, and one step of training."""

    paired = False

    @staticmethod
    def material(data: Path, options: GANOptions) -> Material:
        """Pictures, or folders of classes, see ``trainers.classes``."""
        names: list[str] = []
        if options.conditional:
            found = find_classes(data)
            names, files = list(found), list(found.values())
        else:
            files = [find_pictures(data)]

        def pictures(found: list[list[Path]]) -> Pictures:
            return Pictures(found, options.size, options.channels)

        training, held_out = pictures(files), pictures(find_held_out(data, names))
        notes = {"pictures": len(training), **({"classes": names} if options.conditional else {})}
        return Material(make_spec(options, len(names)), training, held_out, training, notes)

    def preview(self, material: Material) -> Preview:
        """Real pictures (N, C, S, S) from all over the data, and latent vectors (columns, N, Z)."""
        pictures, device = material.shown, self.fabric.device
        rows = min(PREVIEWS, len(pictures))  # type: ignore[arg-type]
        columns = min(self.classes, 10) or COLUMNS
        real, _ = batch_of(pictures, np.linspace(0, len(pictures) - 1, rows).astype(int).tolist(), device)  # type: ignore[arg-type]
        fixed = torch.Generator().manual_seed(self.options.seed)
        return real, torch.randn(columns, rows, self.z_dim, generator=fixed).to(device)

    def __init__(self, fabric: Fabric, options: GANOptions, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        self.z_dim = spec.input.channels
        self.classes = spec.inputs[-1].classes or 0
        discriminator = MLPDiscriminator(options.channels, options.size, options.ndf or 2 * options.ngf, self.classes)
        # Weights start by how many numbers they add up, as torch has it; the N(0, 0.02) of convolutional systems is too
        # small for narrow linear layers, which then hardly pass anything on for the first thousand steps.
        generator: Any = build_generator(spec.arch, spec.arch_kwargs)
        if self.classes:
            nn.init.normal_(generator.embed.weight)  # as large as the latent vector, or it would not be heard beside it
        self.G = self.add_network("G", generator)
        self.D = self.add_network("D", discriminator)
        self.add_optimizer("G", "G", lr=LEARNING_RATE, betas=BETAS)
        self.add_optimizer("D", "D", lr=LEARNING_RATE, betas=BETAS)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Discriminator first, then generator, on pictures (N, C, S, S) and their classes (N,)."""
        real, classes = batch
        fake = self.G(self.join(self.noise(len(real), self.z_dim), classes))

        loss_D_fake = bce_gan_loss(self.D(fake.detach(), classes), real=False)
        loss_D_real = bce_gan_loss(self.D(real, classes), real=True)
        self.backward_and_step("D", loss_D_fake + loss_D_real)

        with self.frozen("D"):
            loss_G = bce_gan_loss(self.networks["D"](fake, classes), real=True)
        self.backward_and_step("G", loss_G)
        return {"D_real": loss_D_real.detach(), "D_fake": loss_D_fake.detach(), "G_gan": loss_G.detach()}

    def join(self, latents: Tensor, classes: Tensor) -> Tensor:
        """What the generator takes: latent vectors (N, Z) and classes (N,), one-hot, side by side."""
        if not self.classes:
            return latents
        return torch.cat([latents, F.one_hot(classes, self.classes).to(latents.dtype)], dim=1)

    def show(self, batch: Preview) -> list[Tensor]:
        """A column for each class, or ``COLUMNS`` of them, always from the same latent vectors; real pictures last."""
        real, latents = batch
        columns = [
            self.generator(self.join(each, torch.full((len(each),), number % (self.classes or 1), device=each.device)))
            for number, each in enumerate(latents)
        ]
        return [*columns, real]

    def compare(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """As many drawn as held out, of their classes."""
        real, classes = batch
        return self.generator(self.join(torch.randn(len(real), self.z_dim, device=real.device), classes)), real


def make_spec(options: GANOptions, classes: int) -> ModelSpec:
    """The ModelSpec of the generator that ``options`` describe, for so many classes, 0 for none.

    Raises:
        SpecError: there is no such network.
    """
    name, chosen = ("cgan", (ImageSpec.for_class(classes),)) if classes else ("gan", ())
    return ModelSpec(
        name=name,
        arch="mlp",
        arch_kwargs={
            "z_dim": options.z_dim,
            "out_channels": options.channels,
            "ngf": options.ngf,
            "size": options.size,
            "classes": classes,
        },
        inputs=(ImageSpec.for_latent(options.z_dim), *chosen),
        output=ImageSpec.for_channels(options.channels),
        size_multiple=options.size,
        min_size=options.size,
        train_size=(options.size, options.size),
        fixed_size=(options.size, options.size),
        created_with=f"p2p-deploy {__version__}",
        required_features=("latent",),
    )
