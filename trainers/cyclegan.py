"""CycleGAN: two generators, there and back, against two PatchGANs; pictures of two domains, no pairs.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (ICCV 2017).
``G`` turns A into B and ``F`` B into A, as in the paper.
"""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from p2p_deploy.generators import build_generator
from p2p_deploy.spec import ModelSpec
from trainers import pix2pix
from trainers.discriminators import PatchGAN
from trainers.image_pool import ImagePool
from trainers.losses import consistency_loss, lsgan_loss
from trainers.material import Material
from trainers.networks import init_weights
from trainers.options import CycleGANOptions, Pix2PixOptions
from trainers.system import System
from trainers.unaligned import Unaligned, find_domains, find_held_out

CYCLE_WEIGHT = 10.0
IDENTITY_WEIGHT = 0.5  # of the cycle's; section 5.2, and the reference implementation for every data set
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)


class CycleGAN(System):
    """Four networks; the generators learn together, then the discriminators."""

    paired = False

    @staticmethod
    def material(data: Path, options: CycleGANOptions) -> Material:
        """Two domains without pairs."""
        domains, held_out = find_domains(data), find_held_out(data)
        if options.direction == "BtoA":
            domains, held_out = domains[::-1], held_out[::-1]

        def pictures(found: tuple[list[Path], list[Path]], augment: bool) -> Unaligned:
            return Unaligned(*found, options.size, options.seed, augment=augment)

        notes = {"pictures": [len(domain) for domain in domains]}
        training, shown = pictures(domains, True), pictures(domains, False)
        return Material(make_spec(options), training, pictures(held_out, False), shown, notes)

    def __init__(self, fabric: Fabric, options: CycleGANOptions, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        self.identity = options.identity
        self.consistency = options.consistency
        self.G, self.F = (
            self.add_network(name, init_weights(build_generator(spec.arch, spec.arch_kwargs))) for name in ("G", "F")
        )
        self.D_A, self.D_B = (
            self.add_network(name, init_weights(PatchGAN(3, options.ndf or options.ngf, norm="instance")))
            for name in ("D_A", "D_B")
        )
        self.add_optimizer("G", "G", "F", lr=LEARNING_RATE, betas=BETAS)
        self.add_optimizer("D", "D_A", "D_B", lr=LEARNING_RATE, betas=BETAS)
        self.pools = {"A": ImagePool(options.pool), "B": ImagePool(options.pool)}

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Generators first, then discriminators, on unpaired (real_A, real_B) of (N, 3, H, W) each."""
        real_A, real_B = batch
        fake_B, fake_A = self.G(real_A), self.F(real_B)
        loss_cycle = F.l1_loss(self.F(fake_B).float(), real_A) + F.l1_loss(self.G(fake_A).float(), real_B)
        with self.frozen("D_A", "D_B"):
            loss_gan = lsgan_loss(self.networks["D_B"](fake_B), True) + lsgan_loss(self.networks["D_A"](fake_A), True)
        loss_G = loss_gan + CYCLE_WEIGHT * loss_cycle
        losses = {"G_gan": loss_gan, "G_cycle": loss_cycle}
        if self.identity:
            # G is given what is in B already, and should leave it alone
            losses["G_identity"] = F.l1_loss(self.G(real_B).float(), real_B) + F.l1_loss(self.F(real_A).float(), real_A)
            loss_G = loss_G + CYCLE_WEIGHT * self.identity * losses["G_identity"]
        if self.consistency:
            losses["G_consistency"] = consistency_loss(self.G, real_A, fake_B) + consistency_loss(
                self.F, real_B, fake_A
            )
            loss_G = loss_G + self.consistency * losses["G_consistency"]
        self.backward_and_step("G", loss_G)

        loss_D = torch.zeros((), device=real_A.device)
        for name, discriminator, real, fake in (("A", self.D_A, real_A, fake_A), ("B", self.D_B, real_B, fake_B)):
            loss_fake = lsgan_loss(discriminator(self.pools[name].exchange(fake.float())), False)
            loss_real = lsgan_loss(discriminator(real), True)
            loss_D = loss_D + 0.5 * (loss_fake + loss_real)
            losses |= {f"D_{name}_real": loss_real, f"D_{name}_fake": loss_fake}
        self.backward_and_step("D", loss_D)
        return {name: loss.detach() for name, loss in losses.items()}

    def show(self, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        """A, what becomes of it, and back again; B, what becomes of it, and back again."""
        G, back = self.networks["G"], self.networks["F"]
        fake_B, fake_A = G(batch[0]), back(batch[1])
        return [batch[0], fake_B, back(fake_B), batch[1], fake_A, G(fake_A)]

    def compare(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What becomes of A, and B."""
        return self.networks["G"](batch[0]), batch[1]


def make_spec(options: CycleGANOptions) -> ModelSpec:
    """The ModelSpec of the generators that ``options`` describe. Raises DataError like ``pix2pix.make_spec``."""
    described = pix2pix.make_spec(
        Pix2PixOptions(
            size=options.size,
            ngf=options.ngf,
            generator=options.generator,
            num_downs=options.num_downs,
            n_blocks=options.n_blocks,
            dropout=False,
            direction=options.direction,
            neck=options.neck,
        )
    )
    return described.with_changes(name="cyclegan", arch_kwargs={**described.arch_kwargs, "norm": "instance"})
