"""GAN and CGAN: fully connected networks that draw small pictures from latent vectors, and from a class.

Goodfellow et al.: Generative Adversarial Nets (NeurIPS 2014). Mirza, Osindero: Conditional Generative Adversarial Nets
(2014).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from p2p_deploy import __version__
from p2p_deploy.errors import DataError
from p2p_deploy.generators import build_generator
from p2p_deploy.spec import ImageSpec, ModelSpec
from trainers.classes import Pictures, find_classes, find_held_out, find_pictures
from trainers.data import HeldOut, batch_of, loader_of
from trainers.discriminators import MLPDiscriminator
from trainers.launch import make_fabric
from trainers.loop import Data, TrainingProgress, fit
from trainers.losses import bce_gan_loss
from trainers.options import LoopOptions
from trainers.system import System

LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)
PREVIEWS = 8  # rows of a sample picture
COLUMNS = 8  # of it, or the first ten classes
Preview = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """How to train; see also ``LoopOptions``.

    Attributes:
        size: side of the square pictures, pixels.
        channels: 1 for grey pictures, 3 for colour.
        z_dim: length of the latent vector.
        ngf: width of the generator's first layer.
        ndf: width of the discriminator's first layer; None takes twice ``ngf``.
        conditional: give both networks the class, which is the folder a picture is in (CGAN).
    """

    batch: int = 64
    size: int = 28
    channels: int = 1
    z_dim: int = 100
    ngf: int = 256
    ndf: int | None = None
    conditional: bool = False


class GAN(System):
    """The networks, their optimisers, and one step of training."""

    paired = False

    def __init__(self, fabric: Fabric, options: Options, spec: ModelSpec) -> None:
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


def train(
    data: Path,
    run: Path,
    options: Options,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
) -> Path:
    """Train on pictures, see ``trainers.classes``, and return the checkpoint, ``run/ckpt.pt``.

    Raises like ``pix2pix.train``.
    """
    names: list[str] = []
    if options.conditional:
        found = find_classes(data)
        names, files = list(found), list(found.values())
    else:
        files = [find_pictures(data)]
    held_out = find_held_out(data, names)
    spec = make_spec(options, len(names))
    fabric = make_fabric(options, run)
    dataset = Pictures(files, options.size, options.channels)
    system = GAN(fabric, options, spec)
    preview = make_preview(dataset, options, min(len(names), 10) or COLUMNS, fabric.device)
    return fit(
        system,
        Data(
            len(dataset),
            loader_of(dataset, fabric, options),
            preview,
            HeldOut(Pictures(held_out, options.size, options.channels), options.batch, fabric.device),
        ),
        run,
        {
            "system": "cgan" if options.conditional else "gan",
            "pictures": len(dataset),
            **({"classes": names} if options.conditional else {}),
        },
        overwrite=overwrite,
        resume=resume,
        on_progress=on_progress,
        cancel=cancel,
    )


def make_preview(dataset: Pictures, options: Options, columns: int, device: torch.device) -> Preview:
    """What samples show: real pictures (N, C, S, S) from all over the data, and latent vectors (columns, N, Z)."""
    rows = min(PREVIEWS, len(dataset))
    real, _ = batch_of(dataset, np.linspace(0, len(dataset) - 1, rows).astype(int).tolist(), device)
    fixed = torch.Generator().manual_seed(options.seed)
    return real, torch.randn(columns, rows, options.z_dim, generator=fixed).to(device)


def make_spec(options: Options, classes: int) -> ModelSpec:
    """The ModelSpec of the generator that ``options`` describe, for so many classes, 0 for none.

    Raises:
        DataError, SpecError: there is no such network.
    """
    if options.ngf < 1 or (options.ndf is not None and options.ndf < 1):
        raise DataError(f"ngf and ndf must be at least 1, got {options.ngf} and {options.ndf}.")
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
