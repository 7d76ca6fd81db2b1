"""Every option of a training, declared once: what all systems have, then a class for each. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from p2p_deploy.errors import DataError
from p2p_deploy.options import Option, Options, Overwrite
from p2p_deploy.spec import Direction

Norm = Literal["batch", "instance", "none"]
SAVE_WEIGHTS = (
    " Where torchvision is, torch.save(torchvision.models.{name}(weights='DEFAULT').state_dict(), FILE) writes them."
)
NO_PERCEPTUAL_LOSS = (
    "The perceptual loss is off, since no weights of VGG19 were given with `vgg`: pictures will be less good than "
    f"published ones.{SAVE_WEIGHTS.format(name='vgg19')}"
)

# What several systems have, with types and defaults of their own.
_BATCH = Option("Pictures per step and device.", low=1)
_SIZE = Option(
    "Side of the training crops in pixels, a multiple of 32 for pix2pix and cyclegan; with `width` their height. "
    "Pictures are resized to 286/256 of it, cropped and flipped; those of gan and cgan are only resized.",
    low=1,
)
_GENERATOR = Option(
    "Which network is trained. unet has BatchNorm, unet_upsample InstanceNorm and a head that up-samples, resnet "
    "InstanceNorm; local_enhancer is pix2pixHD's around a resnet."
)
_NGF = Option(
    "Width of the first layer of the generators; of pix2pixhd by default 64, and 32 with a local_enhancer.", low=1
)
_NDF = Option(
    "Width of the first layer of the discriminators; by default as `ngf`, twice as much for gan and cgan.", low=1
)
_N_BLOCKS = Option("Residual blocks of a ResNet; by default 9, and 6 below 256 pixels for pix2pix and cyclegan.", low=1)
_NORM = Option(
    "pix2pix: of both networks, by default batch with a unet and else instance. spade: what is modulated, by default "
    "instance. On several GPUs BatchNorm shares its statistics."
)
_Z_DIM = Option("spade: length of the style vector, 256 as published, 0 without one. gan, cgan: of the latent vector.")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How to train, whatever is trained.

    Attributes:
        fused: update all weights in one kernel.
    """

    steps: Annotated[int | None, Option("Optimisation steps. Default: as many as `epochs` has.", low=1)] = None
    epochs: Annotated[int, Option("Passes over the data, unless `steps` says how long.", low=1)] = 200
    batch: Annotated[int, _BATCH] = 1
    seed: Annotated[
        int,
        Option(
            "Of weights, order, crops, dropout and noise; the same one gives the same weights on the CPU.",
            low=0,
            high=2**32 - 1,
        ),
    ] = 0
    device: Annotated[str, Option("auto, a GPU if there is one; cpu; or cuda:N.", shown="auto|cpu|cuda:N")] = "auto"
    devices: Annotated[int, Option("How many devices share each step, from `device` on.", low=1)] = 1
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"],
        Option("Of the networks' arithmetic: bf16, and fp16 on a GPU, are mixed, with the losses in float32."),
    ] = "fp32"
    schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        Option(
            "Of the learning rate: linear is constant for half of the epochs and then falls to 0 by as much each; "
            "cosine falls along half a wave; constant does not."
        ),
    ] = "linear"
    accumulate: Annotated[int, Option("Batches whose gradients make one step.", low=1)] = 1
    ema: Annotated[
        float,
        Option(
            "Decay of the running average of the generator's weights, such as 0.999; the average is what is deployed. "
            "0 deploys the weights themselves.",
            low=0,
            below=1,
        ),
    ] = 0.0
    compile: Annotated[
        bool, Option("Have torch.compile translate the networks first; on a GPU it pays after some minutes.")
    ] = False
    channels_last: Annotated[bool, Option("Keep the channels of pictures innermost, which GPUs prefer.")] = False
    workers: Annotated[
        int | None, Option("Processes that load pictures. Default: none on the CPU, 4 for a GPU.", low=0)
    ] = None
    save_every: Annotated[int, Option("Steps between checkpoints.", low=1)] = 500
    keep: Annotated[int, Option("Checkpoints kept in RUN/checkpoints beside ckpt.pt.", low=0)] = 0
    validate_every: Annotated[int, Option("Steps between samples and measures.", low=1)] = 500
    best: Annotated[
        Literal["l1", "psnr", "ssim", "lpips", "fid", "kid"] | None,
        Option("The measure that best.pt is chosen by. Default: l1 for pairs, else fid."),
    ] = None
    inception: Annotated[
        str | None,
        Option(
            "File with the weights of the Inception-v3 of the published FID, pt_inception-2015-12-05-6726825d.pth: FID "
            "and KID are measured too; for cyclegan on valA and valB (else testA, testB), for gan and cgan on val "
            "(else test).",
            shown="FILE",
        ),
    ] = None
    lpips: Annotated[
        str | None,
        Option(
            "File with the weights of torchvision's VGG16: LPIPS is measured too, on pairs.",
            shown="FILE",
        ),
    ] = None
    resume: Annotated[bool, Option("Go on from RUN/ckpt.pt, exactly.")] = False
    overwrite: Overwrite = False
    fused: bool = True

    def notices(self) -> list[str]:
        """What the user should know of what these options leave out."""
        return []


@dataclass(frozen=True, kw_only=True)
class TranslationOptions(TrainingOptions):
    """How to train a U-Net or ResNet that turns pictures into pictures."""

    size: Annotated[int, _SIZE] = 256
    ngf: Annotated[int, _NGF] = 64
    ndf: Annotated[int | None, _NDF] = None
    num_downs: Annotated[
        int | None, Option("Depth of a U-Net. Default: the deepest that the size allows, at most 8.", low=5, high=8)
    ] = None
    n_blocks: Annotated[int | None, _N_BLOCKS] = None
    direction: Annotated[Direction, Option("Which side is the input.")] = "AtoB"
    neck: Annotated[
        Literal["none", "pan"],
        Option("pan: a path aggregation network between the encoder and the decoder of a unet."),
    ] = "none"
    consistency: Annotated[
        float,
        Option(
            "Weight of the L1 between outputs for the same input as it is, and flipped with a little noise; 0 leaves "
            "it out.",
            low=0,
        ),
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class Pix2PixOptions(TranslationOptions):
    """How to train pix2pix."""

    generator: Annotated[Literal["unet", "unet_upsample", "resnet"], _GENERATOR] = "unet"
    norm: Annotated[Norm | None, _NORM] = None
    dropout: Annotated[bool, Option("Dropout in the generator, while training only.")] = True
    input_channels: Annotated[int, Option("3 for colour inputs, 1 for grey ones.", low=1, high=3)] = 3


@dataclass(frozen=True, kw_only=True)
class CycleGANOptions(TranslationOptions):
    """How to train CycleGAN."""

    generator: Annotated[Literal["resnet", "unet"], _GENERATOR] = "resnet"
    identity: Annotated[
        float, Option("Weight of the identity loss as a share of the cycle's; 0 leaves it out.", low=0)
    ] = 0.5
    pool: Annotated[int, Option("Generated pictures that each discriminator remembers.", low=0)] = 50


@dataclass(frozen=True, kw_only=True)
class LabelledOptions(TrainingOptions):
    """How to train a network that takes label maps."""

    width: Annotated[int | None, Option("Width of the training crops. Default: as much as `size`.", low=1)] = None
    labels: Annotated[
        int, Option("How many classes the label maps have; pix2pixhd takes pictures instead of maps with 0.", low=0)
    ] = 35
    instances: Annotated[bool, Option("Whether the edges of instance maps are a further input.")] = True
    ndf: Annotated[int, _NDF] = 64
    vgg: Annotated[
        str | None,
        Option(
            "File with the weights of torchvision's VGG19 for the perceptual loss; without it there is none.",
            shown="FILE",
        ),
    ] = None

    def notices(self) -> list[str]:
        """That the perceptual loss is off."""
        return [] if self.vgg else [NO_PERCEPTUAL_LOSS]


@dataclass(frozen=True, kw_only=True)
class Pix2PixHDOptions(LabelledOptions):
    """How to train pix2pixHD."""

    size: Annotated[int, _SIZE] = 512
    generator: Annotated[Literal["resnet", "local_enhancer"], _GENERATOR] = "resnet"
    ngf: Annotated[int | None, _NGF] = None
    n_downs: Annotated[int, Option("How often the global generator halves the size.", low=1, high=6)] = 4
    n_blocks: Annotated[int, _N_BLOCKS] = 9
    scales: Annotated[
        int, Option("How many discriminators, each for pictures half as large as the one before.", low=1, high=4)
    ] = 2
    coarse: Annotated[
        str | None,
        Option(
            "Checkpoint of a global generator that a local_enhancer begins with; train it at half the size.",
            shown="FILE",
        ),
    ] = None
    freeze_coarse: Annotated[int, Option("Epochs for which that is left as it is.", low=0)] = 10
    features: Annotated[
        int,
        Option(
            "Channels of an encoder of the target, constant over each instance, that the generator is given too, 3 as "
            "published; what is deployed takes their averages for each class. 0 leaves it out.",
            low=0,
        ),
    ] = 0
    style: Annotated[
        int,
        Option(
            "Length of a style vector that an encoder finds in the target, over its instances, and that the norms of "
            "the residual blocks follow (AdaIN); what is deployed takes the average. 0 leaves it out.",
            low=0,
        ),
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
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


@dataclass(frozen=True, kw_only=True)
class SPADEOptions(LabelledOptions):
    """How to train SPADE."""

    size: Annotated[int, _SIZE] = 256
    ngf: Annotated[int, _NGF] = 64
    upsampling: Annotated[
        Literal["normal", "more", "most"] | None,
        Option(
            "The size is doubled normal (5), more (6) or most (7) times. Default: normal below 512 pixels, more below "
            "1024, and most from there on."
        ),
    ] = None
    norm: Annotated[Literal["instance", "batch"], _NORM] = "instance"
    z_dim: Annotated[int, _Z_DIM] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels < 1:
            raise DataError(f"SPADE is for label maps and needs at least 1 class, got {self.labels}. Take pix2pixhd.")


@dataclass(frozen=True, kw_only=True)
class GANOptions(TrainingOptions):
    """How to train a GAN.

    Attributes:
        conditional: give both networks the class, which is the folder a picture is in (CGAN).
    """

    batch: Annotated[int, _BATCH] = 64
    size: Annotated[int, _SIZE] = 28
    channels: Annotated[int, Option("1 for grey pictures, 3 for colour.", low=1, high=3)] = 1
    z_dim: Annotated[int, _Z_DIM] = 100
    ngf: Annotated[int, _NGF] = 256
    ndf: Annotated[int | None, _NDF] = None
    conditional: bool = False


@dataclass(frozen=True, kw_only=True)
class CGANOptions(GANOptions):
    """How to train a CGAN."""

    conditional: bool = True


SYSTEM_OPTIONS: Mapping[str, type[TrainingOptions]] = MappingProxyType(
    {
        "pix2pix": Pix2PixOptions,
        "cyclegan": CycleGANOptions,
        "pix2pixhd": Pix2PixHDOptions,
        "spade": SPADEOptions,
        "gan": GANOptions,
        "cgan": CGANOptions,
    }
)
