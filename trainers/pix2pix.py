"""pix2pix: a U-Net with BatchNorm against a PatchGAN, BCE with logits + 100 x L1.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (CVPR 2017).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from p2p_deploy import __version__
from p2p_deploy.errors import DataError
from p2p_deploy.generators import build_generator
from p2p_deploy.image_spec import ImageSpec
from p2p_deploy.spec import MAX_SIDE, Direction, ModelSpec
from trainers.data import AlignedPairs, find_pairs, make_loader
from trainers.discriminators import PatchGAN, pair
from trainers.loop import Progress, Schedule, fit, make_fabric, prepare_run
from trainers.losses import bce_gan_loss
from trainers.networks import init_weights, set_trainable

L1_WEIGHT = 100.0
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)
PREVIEWS = 4


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        size: side of the square training crops, pixels; a multiple of 32.
        batch: pictures per step.
        steps: optimisation steps; None trains for ``epochs``.
        epochs: passes over the data; the learning rate is constant for the first half and then decays to 0.
        ngf: width of the generator's first layer.
        ndf: width of the discriminator's first layer; None takes ``ngf``.
        num_downs: depth of the U-Net; None takes the deepest that fits the size, at most 8.
        dropout: dropout in the generator, while training only.
        input_channels: 3 for colour, 1 for grey inputs.
        direction: which side of the pairs is the input.
        seed: of weights, order and augmentation.
        device: ``auto``, ``cpu`` or ``cuda:N``.
    """

    size: int = 256
    batch: int = 1
    steps: int | None = None
    epochs: int = 200
    ngf: int = 64
    ndf: int | None = None
    num_downs: int | None = None
    dropout: bool = True
    input_channels: int = 3
    direction: Direction = "AtoB"
    seed: int = 0
    device: str = "auto"


class Pix2Pix:
    """The networks, their optimisers, and one step of training."""

    def __init__(self, fabric: Fabric, spec: ModelSpec, ndf: int = 64) -> None:
        self.fabric = fabric
        generator = init_weights(build_generator(spec.arch, spec.arch_kwargs))
        discriminator = init_weights(PatchGAN(spec.input.channels + spec.output.channels, ndf))
        optimizer_G = torch.optim.Adam(generator.parameters(), LEARNING_RATE, BETAS)
        optimizer_D = torch.optim.Adam(discriminator.parameters(), LEARNING_RATE, BETAS)
        self.generator = generator
        self.optimizers: list[torch.optim.Optimizer] = [optimizer_G, optimizer_D]
        self.G, self.optimizer_G = fabric.setup(generator, optimizer_G)
        self.D, self.optimizer_D = fabric.setup(discriminator, optimizer_D)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Discriminator first, then generator, on (input, target) of (N, C, H, W) each."""
        input_NCHW, target = batch
        output = self.G(input_NCHW)

        set_trainable(self.D, True)
        loss_D_fake = bce_gan_loss(self.D(pair(input_NCHW, output.detach())), real=False)
        loss_D_real = bce_gan_loss(self.D(pair(input_NCHW, target)), real=True)
        loss_D = 0.5 * (loss_D_fake + loss_D_real)  # halved: the discriminator learns more slowly (section 3.3)
        self.optimizer_D.zero_grad()
        self.fabric.backward(loss_D)
        self.optimizer_D.step()

        set_trainable(self.D, False)
        loss_G_gan = bce_gan_loss(self.D(pair(input_NCHW, output)), real=True)
        loss_G_l1 = F.l1_loss(output, target)
        self.optimizer_G.zero_grad()
        self.fabric.backward(loss_G_gan + L1_WEIGHT * loss_G_l1)
        self.optimizer_G.step()
        return {
            "D_real": loss_D_real.detach(),
            "D_fake": loss_D_fake.detach(),
            "G_gan": loss_G_gan.detach(),
            "G_L1": loss_G_l1.detach(),
        }


def train(
    data: Path,
    run: Path,
    options: Options,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
) -> Path:
    """Train on aligned pairs and return the checkpoint, ``run/ckpt.pt``.

    Setting ``cancel`` ends the training after the step under way, with a checkpoint of it.

    Raises:
        DataError: the data or an option cannot be used.
        DeviceError: the device is not there.
        OutputError: the run exists already, or cannot be written.
        Failed: the training diverged.
    """
    spec = make_spec(options)
    files = find_pairs(data)
    schedule = Schedule.plan(len(files), options.batch, steps=options.steps, epochs=options.epochs)
    fabric = make_fabric(options.device, run)
    torch.manual_seed(options.seed)
    system = Pix2Pix(fabric, spec, options.ndf or options.ngf)
    pairs = AlignedPairs(files, options.size, options.input_channels, options.direction, options.seed)
    previews = [pairs[0, index] for index in range(min(PREVIEWS, len(pairs)))]
    prepare_run(run, overwrite)
    # On the CPU the network needs every core; loading in the same process costs it the least.
    workers = 0 if fabric.device.type == "cpu" else 4
    batches = fabric.setup_dataloaders(make_loader(pairs, options.batch, options.seed, workers))
    return fit(
        fabric,
        system,
        batches,
        schedule=schedule,
        spec=spec,
        run=run,
        preview=(torch.stack([p[0] for p in previews]), torch.stack([p[1] for p in previews])),
        training={"system": "pix2pix", "options": asdict(options), "pairs": len(files)},
        on_progress=on_progress,
        cancel=cancel or threading.Event(),
    )


def make_spec(options: Options) -> ModelSpec:
    """The ModelSpec of the generator that ``options`` describe.

    Raises:
        DataError: the size does not suit the network.
    """
    size = options.size
    if not 32 <= size <= MAX_SIDE or size % 32:
        raise DataError(f"The training size must be a multiple of 32 pixels from 32 up, got {size}.")
    deepest = max(downs for downs in range(5, 9) if size % 2**downs == 0)
    num_downs = options.num_downs or deepest
    return ModelSpec(
        name="pix2pix",
        arch="unet",
        arch_kwargs={
            "in_channels": options.input_channels,
            "out_channels": 3,
            "num_downs": num_downs,
            "ngf": options.ngf,
            "dropout": options.dropout,
        },
        inputs=(ImageSpec.for_channels(options.input_channels),),
        output=ImageSpec.for_channels(3),
        size_multiple=2**num_downs,
        min_size=2**num_downs,
        train_size=(size, size),
        direction=options.direction,
        created_with=f"p2p-deploy {__version__}",
    )
