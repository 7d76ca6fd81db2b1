"""pix2pixHD: a ResNet, or a local enhancer around one, against PatchGANs on a pyramid of pictures.

Wang, Liu, Zhu, Tao, Kautz, Catanzaro: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs
(CVPR 2018). Label maps, with the edges of instances and features of an encoder, or pictures to pictures. For large
ones, first train a ``resnet`` at half the size, then a ``local_enhancer`` around it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from p2p_deploy import __version__
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError
from p2p_deploy.generators import Featured, Styled, build_generator
from p2p_deploy.spec import ImageSpec, ModelSpec
from trainers.discriminators import pair
from trainers.features import FeatureEncoder, StyleEncoder
from trainers.label_system import LabelSystem
from trainers.labelled import find_material, inputs_of
from trainers.losses import lsgan_loss
from trainers.material import Material
from trainers.networks import init_weights
from trainers.options import Pix2PixHDOptions

LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)


class Pix2PixHD(LabelSystem):
    """The networks, their optimisers, and one step of training."""

    @staticmethod
    def material(data: Path, options: Pix2PixHDOptions) -> Material:
        """Label maps and pictures, see ``trainers.labelled``."""
        return find_material(data, make_spec(options), options)

    def __init__(self, fabric: Fabric, options: Pix2PixHDOptions, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        self.freeze_coarse = options.freeze_coarse if options.coarse else 0
        generator = init_weights(build_generator(spec.arch, spec.arch_kwargs))
        painters = ["G"]
        if isinstance(generator, Styled):
            self.styles = StyleEncoder(options.style, options.n_downs)
            self.E = self.add_network("E", init_weights(self.styles))
            painters.append("E")
        elif isinstance(generator, Featured):
            self.lookup = generator.lookup
            nn.init.zeros_(self.lookup.weight)
            self.encoder = FeatureEncoder(options.labels, options.features, options.n_downs)
            self.E = self.add_network("E", init_weights(self.encoder))
            painters.append("E")
        self.G = self.add_network("G", generator)
        self.add_discriminators(options.scales, options.ndf, spectral=False)
        self.add_perceptual(options.vgg)
        self.add_optimizer("G", *painters, lr=LEARNING_RATE, betas=BETAS)
        self.add_optimizer("D", "D", lr=LEARNING_RATE, betas=BETAS)
        if options.coarse and not options.resume:
            coarse = read_coarse(Path(options.coarse), spec)
            self.generator.get_submodule("coarse").load_state_dict(coarse)

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Generator first, then discriminators, on maps or a picture, and last the target; see ``Labelled``."""
        *frames, real = batch
        given = self.given(*frames)
        if isinstance(self.generator, Styled):
            style = self.E(real, frames[-1] if self.spec.input.kind == "labels" else None)
            self.styles.note(style, self.generator)
            fake = self.G(given, style)
        elif "E" in self.networks:
            features = self.E(real, frames[-1])  # instances, or else labels
            self.encoder.note(features, frames[0], self.lookup)
            fake = self.G(given, features)
        else:
            fake = self.G(given)

        losses, loss_G = self.generator_losses(given, fake, real, functools.partial(sum_over_scales, real=True))
        frozen = self.epoch < self.freeze_coarse
        self.backward_and_step("G", loss_G, self.generator.get_submodule("coarse").parameters() if frozen else ())

        losses["D_fake"] = sum_over_scales(self.D(pair(given, fake.detach())), real=False)
        losses["D_real"] = sum_over_scales(self.D(pair(given, real)), real=True)
        self.backward_and_step("D", 0.5 * (losses["D_fake"] + losses["D_real"]))
        return {name: loss.detach() for name, loss in losses.items()}


def sum_over_scales(seen: list[list[Tensor]], *, real: bool) -> Tensor:
    """The least-squares loss of every discriminator's logits, added up."""
    return torch.stack([lsgan_loss(layers[-1], real) for layers in seen]).sum()


def make_spec(options: Pix2PixHDOptions) -> ModelSpec:
    """The ModelSpec of the generator that ``options`` describe.

    Raises:
        SpecError: the size does not suit the network, or there is no such network.
    """
    local = options.generator == "local_enhancer"
    inputs, channels = inputs_of(options.labels, instances=options.instances)
    kwargs: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": 3,
        "ngf": options.ngf or (32 if local else 64),
        "n_blocks": options.n_blocks,
        "n_downs": options.n_downs,
        "norm": "instance",
    }
    arch: str = options.generator
    if options.features:
        kwargs |= {"generator": arch, "classes": options.labels, "features": options.features}
        arch = "featured"
    elif options.style:
        kwargs |= {"generator": arch, "style": options.style}
        arch = "styled"
    with torch.device("meta"):
        generator: Any = build_generator(arch, kwargs)
    return ModelSpec(
        name="pix2pixhd",
        arch=arch,
        arch_kwargs=kwargs,
        inputs=inputs,
        output=ImageSpec.for_channels(3),
        size_multiple=generator.size_multiple,
        min_size=generator.min_size,
        train_size=(options.size, options.width or options.size),
        created_with=f"p2p-deploy {__version__}",
    )


def read_coarse(path: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """The weights of a global generator's checkpoint, without its last convolution, for the enhancer ``spec``.

    Raises:
        CheckpointError: the file cannot be read.
        DataError: it is of another network than the enhancer is built around.
    """
    checkpoint = load_checkpoint(path)
    found = {"bias": True, "padding": "reflect", "up_by": "transposed", "norm": "instance", "n_blocks": 9, "n_downs": 2}
    found |= {"arch": checkpoint.spec.arch, **checkpoint.spec.arch_kwargs}
    wanted = {
        "arch": "resnet",
        **{key: spec.arch_kwargs[key] for key in ("in_channels", "n_blocks", "n_downs", "norm")},
        "ngf": 2 * spec.arch_kwargs["ngf"],
        **{"bias": True, "padding": "reflect", "up_by": "transposed"},
    }
    wrong = [f"{key} {found.get(key)} instead of {value}" for key, value in wanted.items() if found.get(key) != value]
    if not wrong and checkpoint.spec.inputs != spec.inputs:
        wrong = ["other inputs"]
    if wrong:
        raise DataError(
            f"{path} is not the global generator that this local enhancer is built around: it has {', '.join(wrong)}. "
            "Train one with the same options at half the size."
        )
    weights = checkpoint.generator.state_dict()
    return {key: value for key, value in weights.items() if not key.startswith("tail.")}
