"""pix2pixHD: a ResNet, or a local enhancer around one, against PatchGANs on a pyramid of pictures.

Wang, Liu, Zhu, Tao, Kautz, Catanzaro: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs
(CVPR 2018). Label maps, with the edges of instances and features of an encoder, or pictures to pictures. For large
ones, first train a ``resnet`` at half the size, then a ``local_enhancer`` around it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from p2p_deploy import __version__
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError
from p2p_deploy.generators import Featured, Styled, build_generator
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.spec import ImageSpec, ModelSpec
from trainers import vgg
from trainers.discriminators import MultiScale, PatchGAN, pair
from trainers.features import FeatureEncoder, StyleEncoder
from trainers.labelled import inputs_of, load, to_colours
from trainers.launch import make_fabric
from trainers.loop import TrainingProgress, fit
from trainers.losses import feature_matching_loss, lsgan_loss
from trainers.networks import init_weights
from trainers.options import LoopOptions
from trainers.system import System

FEATURE_MATCHING_WEIGHT = 10.0
PERCEPTUAL_WEIGHT = 10.0
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """How to train; see also ``LoopOptions``.

    Attributes:
        size: height of the training crops, pixels.
        width: of them; None is as much as ``size``.
        labels: how many classes the label maps have; 0 trains on pictures instead of maps.
        instances: whether the edges of instance maps are a further input; not with pictures.
        generator: ``resnet``, the global generator, or ``local_enhancer`` around one.
        ngf: width of the generator's first layer; None takes 64, and 32 for a local enhancer.
        ndf: width of the discriminators' first layer.
        n_downs: how often the global generator halves its size, 3 or 4 as published.
        n_blocks: residual blocks of the global generator.
        scales: discriminators, each for pictures half as large as those before.
        coarse: a checkpoint of a global generator, that a local enhancer begins with.
        freeze_coarse: epochs for which it is left as it is.
        features: channels of an encoder of the target, constant over each instance, that are a further input while
            training; 3 as published, 0 leaves it out. What is deployed takes their averages for each class.
        style: length of a style vector that an encoder finds in the target, which the norms of the residual blocks
            follow (AdaIN); what is deployed takes the average; 0 leaves it out.
        vgg: a file with the weights of torchvision's VGG19 for the perceptual loss; None leaves it out.
    """

    size: int = 512
    width: int | None = None
    labels: int = 35
    instances: bool = True
    generator: Literal["resnet", "local_enhancer"] = "resnet"
    ngf: int | None = None
    ndf: int = 64
    n_downs: int = 4
    n_blocks: int = 9
    scales: int = 2
    coarse: str | None = None
    freeze_coarse: int = 10
    features: int = 0
    style: int = 0
    vgg: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.scales <= 4:
            raise DataError(f"There can be 1 to 4 discriminators, got scales={self.scales}.")
        if self.coarse and self.generator != "local_enhancer":
            raise DataError(f"coarse is for a local_enhancer to begin with; the generator is {self.generator}.")
        if self.features and (self.coarse or not self.labels):
            raise DataError(
                f"features={self.features} need label maps, got labels={self.labels}, and an encoder that learns with "
                f"the whole generator, got coarse={self.coarse}. Leave one of them out."
            )

        if self.style and (self.coarse or self.features):
            raise DataError(
                f"style={self.style} needs an encoder of its own that learns with the whole generator, got "
                f"features={self.features}, coarse={self.coarse}. Leave one of them out."
            )

    def notices(self) -> list[str]:
        """That the perceptual loss is off."""
        return [] if self.vgg else [vgg.OFF]


class Pix2PixHD(System):
    """The networks, their optimisers, and one step of training."""

    def __init__(self, fabric: Fabric, options: Options, spec: ModelSpec) -> None:
        super().__init__(fabric, options, spec)
        self.freeze_coarse = options.freeze_coarse if options.coarse else 0
        self.given = FrameModel(nn.Identity(), spec).values  # as when it is deployed
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
        channels = spec.arch_kwargs["in_channels"] + spec.output.channels
        scales = [PatchGAN(channels, options.ndf, norm="instance", padding=2) for _ in range(options.scales)]
        self.D = self.add_network("D", init_weights(MultiScale(scales)))
        self.perceptual = fabric.to_device(vgg.read_vgg(Path(options.vgg))) if options.vgg else None
        self.add_optimizer("G", *painters, lr=LEARNING_RATE, betas=BETAS)
        self.add_optimizer("D", "D", lr=LEARNING_RATE, betas=BETAS)

    def begin_with(self, coarse: dict[str, Tensor]) -> None:
        """Take the weights of a global generator."""
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

        with self.frozen("D"):
            seen_fake = self.networks["D"](pair(given, fake))
            with torch.no_grad():
                seen_real = self.networks["D"](pair(given, real))
        losses = {
            "G_gan": sum_over_scales(seen_fake, real=True),
            "G_features": feature_matching_loss([one[:-1] for one in seen_fake], [one[:-1] for one in seen_real]),
        }
        loss_G = losses["G_gan"] + FEATURE_MATCHING_WEIGHT * losses["G_features"]
        if self.perceptual:
            with self.fabric.autocast():
                losses["G_vgg"] = self.perceptual(fake, real)
            loss_G = loss_G + PERCEPTUAL_WEIGHT * losses["G_vgg"]
        frozen = self.epoch < self.freeze_coarse
        self.backward_and_step("G", loss_G, self.generator.get_submodule("coarse").parameters() if frozen else ())

        losses["D_fake"] = sum_over_scales(self.D(pair(given, fake.detach())), real=False)
        losses["D_real"] = sum_over_scales(self.D(pair(given, real)), real=True)
        self.backward_and_step("D", 0.5 * (losses["D_fake"] + losses["D_real"]))
        return {name: loss.detach() for name, loss in losses.items()}

    def show(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        """Input, labels in colours; output, target."""
        return [to_colours(batch[0]), *self.compare(batch)]

    def compare(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Output and target."""
        return self.generator(self.given(*batch[:-1])), batch[-1]


def sum_over_scales(seen: list[list[Tensor]], *, real: bool) -> Tensor:
    """The least-squares loss of every discriminator's logits, added up."""
    return torch.stack([lsgan_loss(layers[-1], real) for layers in seen]).sum()


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
    """Train on label maps and pictures, see ``trainers.labelled``, and return the checkpoint, ``run/ckpt.pt``.

    Raises like ``pix2pix.train``.
    """
    spec = make_spec(options)
    coarse = read_coarse(Path(options.coarse), spec) if options.coarse and not resume else None
    fabric = make_fabric(options, run)
    pictures = load(data, spec, options, fabric)
    system = Pix2PixHD(fabric, options, spec)
    if coarse:
        system.begin_with(coarse)
    return fit(
        system,
        pictures,
        run,
        {"system": "pix2pixhd", "pictures": pictures.pictures, "notices": options.notices()},
        overwrite=overwrite,
        resume=resume,
        on_progress=on_progress,
        cancel=cancel,
    )


def make_spec(options: Options) -> ModelSpec:
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
