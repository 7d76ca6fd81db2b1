"""What every system can be told about its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from p2p_deploy.errors import DataError
from p2p_deploy.spec import Direction

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How to train, whatever is trained.

    Attributes:
        batch: pictures per step and process.
        steps: optimisation steps; None trains for ``epochs``.
        epochs: passes over the data; the learning rate is constant for the first half and then decays to 0.
        seed: of weights, order, augmentation, dropout and noise.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        devices: processes, each with a device of its own, that share a step; their gradients are averaged.
        precision: of the networks' arithmetic: ``fp32``, ``bf16`` or ``fp16`` mixed; losses are always in float32.
        schedule: of the learning rate: ``linear`` is constant for the first half of the epochs and then falls to 0 by
            the same amount each; ``cosine`` falls along half a wave; ``constant`` does not.
        accumulate: batches whose gradients are added up before the weights change.
        ema: decay of the average of the generator's weights that is deployed; 0 deploys the weights themselves.
        compile: have torch.compile translate every network first; on a GPU it pays after some minutes.
        fused: update all weights in one kernel.
        channels_last: keep pictures with their channels innermost, which GPUs prefer.
        save_every: steps between checkpoints.
        keep: how many checkpoints before the last one are kept.
        validate_every: steps between sample pictures and measures of held-out ones.
        best: the measure of them by which ``best.pt`` is chosen; None is L1, or without pairs the FID.
        inception: a file with the weights of the Inception-v3 of FID and KID, which are measured too then.
        lpips: a file with the weights of torchvision's VGG16 for LPIPS, which is measured too then.
        workers: processes that load pictures; None is none on the CPU, whose cores the networks need, and 4 for a GPU.
    """

    batch: int = 1
    steps: int | None = None
    epochs: int = 200
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    precision: Precision = "fp32"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    accumulate: int = 1
    ema: float = 0.0
    compile: bool = False
    fused: bool = True
    channels_last: bool = False
    save_every: int = 500
    keep: int = 0
    validate_every: int = 500
    best: Literal["l1", "psnr", "ssim", "lpips", "fid", "kid"] | None = None
    inception: str | None = None
    lpips: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            known = [
                value for part in (hint, *get_args(hint)) if get_origin(part) is Literal for value in get_args(part)
            ]
            value = getattr(self, name)
            if known and value is not None and value not in known:
                raise DataError(f"{name} must be one of {', '.join(map(str, known))}; got {value}.")
        for name in ("batch", "devices", "accumulate", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.keep < 0 or (self.workers is not None and self.workers < 0):
            raise DataError(f"keep and workers must not be negative, got {self.keep} and {self.workers}.")
        if not 0 <= self.ema < 1:
            raise DataError(f"ema must be from 0 to below 1, such as 0.999, got {self.ema}.")

    def notices(self) -> list[str]:
        """What the user should know of what these options leave out."""
        return []


@dataclass(frozen=True, kw_only=True)
class TranslationOptions(LoopOptions):
    """How to train a U-Net or ResNet that turns pictures into pictures.

    Attributes:
        size: side of the square training crops, pixels; a multiple of 32.
        ngf: width of the generators' first layer.
        ndf: width of the discriminators' first layer; None takes ``ngf``.
        num_downs: depth of a U-Net; None takes the deepest that fits the size, at most 8.
        n_blocks: residual blocks of a ResNet; None takes 9 from 256 pixels up and 6 below.
        direction: which side is the input of what is deployed.
        neck: ``pan`` aggregates the paths of a U-Net's encoder before its decoder reads them.
        consistency: weight of the loss between outputs for the same input in two augmentations; 0 leaves it out.
    """

    size: int = 256
    ngf: int = 64
    ndf: int | None = None
    num_downs: int | None = None
    n_blocks: int | None = None
    direction: Direction = "AtoB"
    neck: Literal["none", "pan"] = "none"
    consistency: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.consistency < 0:
            raise DataError(f"consistency is a weight and must not be negative, got {self.consistency}.")
