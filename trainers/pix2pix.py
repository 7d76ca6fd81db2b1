"""pix2pix: a U-Net or ResNet against a PatchGAN on pairs, BCE with logits + 100 x L1.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (CVPR 2017).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from p2p_deploy import __version__
from p2p_deploy.errors import DataError
from p2p_deploy.generators import build_generator
from p2p_deploy.spec import MAX_SIDE, ImageSpec, ModelSpec
from trainers.data import AlignedPairs, PairFiles, find_held_out, find_pairs
from trainers.discriminators import PatchGAN, StridedPatchGAN, pair
from trainers.losses import bce_gan_loss, consistency_loss
from trainers.material import Material
from trainers.networks import init_weights
from trainers.options import Pix2PixOptions
from trainers.system import System

L1_WEIGHT = 100.0
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)


class Pix2Pix(System):
    """The networks, their optimisers, and one step of training."""

    @staticmethod
    def material(data: Path, options: Pix2PixOptions) -> Material:
        """Aligned pairs; those in ``val`` or ``test`` beside ``train`` are held out."""
        spec, files = make_spec(options), find_pairs(data)

        def pairs(found: list[PairFiles], augment: bool) -> AlignedPairs:
            channels, direction = options.input_channels, options.direction
            return AlignedPairs(found, options.size, channels, direction, options.seed, augment=augment)

        training, held_out = pairs(files, True), pairs(find_held_out(data), False)
        return Material(spec, training, held_out, held_out if len(held_out) else training, {"pairs": len(files)})

    def __init__(self, fabric: Fabric, options: Pix2PixOptions, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        channels, ndf = spec.input.channels + spec.output.channels, options.ndf or options.ngf
        self.consistency = options.consistency
        self.G = self.add_network("G", init_weights(build_generator(spec.arch, spec.arch_kwargs)))
        if spec.arch == "unet_upsample":  # as its reference implementation does
            judge: nn.Module = StridedPatchGAN(channels, ndf)
        else:
            judge = PatchGAN(channels, ndf, norm=options.norm or ("batch" if spec.arch == "unet" else "instance"))
        self.D = self.add_network("D", init_weights(judge))
        self.add_optimizer("G", "G", lr=LEARNING_RATE, betas=BETAS)
        self.add_optimizer("D", "D", lr=LEARNING_RATE, betas=BETAS)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Discriminator first, then generator, on (input, target) of (N, C, H, W) each."""
        input_NCHW, target = batch
        output = self.G(input_NCHW)

        loss_D_fake = bce_gan_loss(self.D(pair(input_NCHW, output.detach())), real=False)
        loss_D_real = bce_gan_loss(self.D(pair(input_NCHW, target)), real=True)
        # halved: the discriminator learns more slowly (section 3.3)
        self.backward_and_step("D", 0.5 * (loss_D_fake + loss_D_real))

        with self.frozen("D"):
            loss_G_gan = bce_gan_loss(self.networks["D"](pair(input_NCHW, output)), real=True)
        loss_G_l1 = F.l1_loss(output.float(), target)
        loss_G = loss_G_gan + L1_WEIGHT * loss_G_l1
        losses = {"D_real": loss_D_real, "D_fake": loss_D_fake, "G_gan": loss_G_gan, "G_L1": loss_G_l1}
        if self.consistency:
            losses["G_consistency"] = consistency_loss(self.G, input_NCHW, output)
            loss_G = loss_G + self.consistency * losses["G_consistency"]
        self.backward_and_step("G", loss_G)
        return {name: loss.detach() for name, loss in losses.items()}

    def show(self, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Input, output, target."""
        return [batch[0], self.generator(batch[0]), batch[1]]

    def compare(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Output and target."""
        return self.generator(batch[0]), batch[1]


def make_spec(options: Pix2PixOptions) -> ModelSpec:
    """The ModelSpec of the generator that ``options`` describe.

    Raises:
        DataError: the size does not suit the network.
    """
    size = options.size
    if not 32 <= size <= MAX_SIDE or size % 32:
        raise DataError(f"The training size must be a multiple of 32 pixels from 32 up, got {size}.")
    kwargs: dict[str, Any] = {
        "in_channels": options.input_channels,
        "out_channels": 3,
        "ngf": options.ngf,
        "dropout": options.dropout,
    }
    if options.generator == "resnet":
        multiple, smallest = 4, 16
        kwargs |= {"n_blocks": options.n_blocks or (9 if size >= 256 else 6), "norm": "instance"}
    else:
        num_downs = options.num_downs or max(downs for downs in range(5, 9) if size % 2**downs == 0)
        multiple = smallest = 2**num_downs
        kwargs |= {"num_downs": num_downs}
    if options.norm:
        kwargs |= {"norm": options.norm}
    if options.neck != "none":
        if options.generator != "unet":
            raise DataError(f"neck={options.neck} is for the generator unet, and this one is {options.generator}.")
        kwargs |= {"neck": options.neck}
    return ModelSpec(
        name="pix2pix",
        arch=options.generator,
        arch_kwargs=kwargs,
        inputs=(ImageSpec.for_channels(options.input_channels),),
        output=ImageSpec.for_channels(3),
        size_multiple=multiple,
        min_size=smallest,
        train_size=(size, size),
        direction=options.direction,
        created_with=f"p2p-deploy {__version__}",
    )
