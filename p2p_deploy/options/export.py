"""What is exported, how a plan of it is built, and how an artefact is verified."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from p2p_deploy.options.assumptions import Assumptions
from p2p_deploy.options.declaration import Option, Options
from p2p_deploy.options.shared import MIN_PSNR_DB, CheckImages, MinPsnr, Overwrite, size
from p2p_deploy.spec.model import NormStats
from p2p_deploy.spec.sidecar import Profile

PrecisionChoice = Literal["fp32", "fp16", "bf16", "auto"]
FlavourChoice = Literal["auto", "tensorrt", "rtx"]
HardwareCompatible = Literal["none", "ampere-plus", "same-cc"]
MAX_OPTIMIZATION_LEVEL = 5  # the builder takes more for this
MAX_WORKSPACE_GIB = 4096  # more than any GPU has, and less than the builder's integer holds


def batch_range(text: str) -> tuple[int, int, int]:
    """``MIN,OPT,MAX`` batch sizes."""
    found = re.fullmatch(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})", text.replace(" ", ""))
    if not found:
        raise ValueError(f"expected MIN,OPT,MAX, such as 1,4,16, got {text!r}")
    smallest, best, largest = (int(number) for number in found.groups())
    if not 1 <= smallest <= best <= largest:
        raise ValueError(f"expected 1 <= MIN <= OPT <= MAX, got {text}")
    return smallest, best, largest


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class BuildOptions(Options):
    """What a builder of TensorRT is told.

    Attributes:
        profiles: the shapes the plan allows, at least one; a dimension that the graph fixes is the graph's in all.
        device: with ``tensorrt``, index of the GPU to build on.
    """

    targets: Annotated[
        tuple[str, ...],
        Option("RTX: GPUs to build for. Default: those of the builder.", parse=names, once=True, shown="smXX,…"),
    ] = ()
    workspace_gib: Annotated[
        float | None,
        Option(
            "GPU memory in GiB that a layer may work in. Default: what the builder chooses.",
            low=0.001,
            high=MAX_WORKSPACE_GIB,
        ),
    ] = None
    optimization_level: Annotated[
        int | None,
        Option(
            "How long the builder searches: 0, quick to build, to 5, quick to run. Default: the builder's own.",
            low=0,
            high=MAX_OPTIMIZATION_LEVEL,
        ),
    ] = None
    timing_cache: Annotated[
        Path | None,
        Option(
            "File of kernel timings, of tensorrt. Default: one by version and GPU in your cache folder, none for a "
            "user without a home."
        ),
    ] = None
    version_compatible: Annotated[
        bool,
        Option(
            "Make a plan that later versions run too. Built by tensorrt, it carries CPU code, which p2p run has to be "
            "told to trust."
        ),
    ] = False
    hardware_compatible: Annotated[
        HardwareCompatible, Option("Make a plan that other GPUs run too, slower; of tensorrt.")
    ] = "none"
    profiles: tuple[Profile, ...] = ()
    device: int = 0


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """What is exported.

    Attributes:
        build: what else the builder of a plan is told; its profiles are made from ``sizes`` and ``batches``.
        assume: what the keys of a foreign checkpoint cannot tell.
    """

    trt: Annotated[bool, Option("Also write STEM.fp16.onnx, the TensorRT plan STEM.plan, and STEM.plan.json.")] = False
    precision: Annotated[
        PrecisionChoice | None,
        Option(
            "Of the ONNX file, or, with `trt`, of the plan (STEM.onnx then stays FP32). auto takes the first of fp16, "
            "fp16 with more layers in float32, bf16 where tensorrt builds, and fp32 that gives the checkpoint's "
            "pictures. Default: fp32, and fp16 with `trt`."
        ),
    ] = None
    sizes: Annotated[
        tuple[tuple[int, int], ...],
        Option(
            "Height and width in pixels that the files take. Default: the training size. With `dynamic` it is "
            "repeatable: the first is what runs fit frames to, and the plan gets a profile up to each.",
            parse=size,
            shown="HxW",
            name="size",
        ),
    ] = ()
    dynamic: Annotated[
        bool,
        Option(
            "Take any height and width that are multiples of the network's. Without `sizes` the plan is tuned for the "
            "training size and takes up to twice it."
        ),
    ] = False
    norm_stats: Annotated[
        NormStats,
        Option(
            "running: BatchNorm uses the statistics of the training. instance: those of each image, as the reference "
            "implementation of pix2pix does when it tests."
        ),
    ] = "running"
    io: Annotated[
        Literal["uint8", "float32"],
        Option(
            "What the files take and give. uint8: frames (N, H, W, C). float32: values (N, C, H, W) in the network's "
            "range, which keep the depth of 16-bit images."
        ),
    ] = "uint8"
    check: CheckImages = None
    min_psnr: MinPsnr = MIN_PSNR_DB
    batches: Annotated[
        tuple[tuple[int, int, int], ...],
        Option(
            "Batch sizes that the plan is built for; repeatable, a profile each. Fewer than MIN frames take as long as "
            "MIN. Default: 1,4,16.",
            parse=batch_range,
            shown="MIN,OPT,MAX",
            name="batch",
        ),
    ] = ((1, 4, 16),)
    force: Annotated[bool, Option("Write a half plan even when less than 90 % of its work is in half.")] = False
    flavour: Annotated[
        FlavourChoice,
        Option(
            "auto takes tensorrt where it is installed and there is a GPU, else TensorRT for RTX.", name="trt-flavour"
        ),
    ] = "auto"
    overwrite: Overwrite = False
    build: BuildOptions = field(default_factory=BuildOptions)
    assume: Assumptions = field(default_factory=Assumptions)

    def given_for_a_plan(self) -> list[str]:
        """The options that differ from their defaults and concern nothing but a plan."""
        own = [(self, ExportOptions(), ("batches", "force", "flavour"))]
        build = [(self.build, BuildOptions(), tuple(item.name for item in fields(BuildOptions)))]
        return [
            name
            for options, default, names_of in (*own, *build)
            for name in names_of
            if getattr(options, name) != getattr(default, name)
        ]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """How an artefact is verified.

    Attributes:
        assume: what the keys of a foreign checkpoint cannot tell.
    """

    check: CheckImages = None
    min_psnr: MinPsnr = MIN_PSNR_DB
    assume: Assumptions = field(default_factory=Assumptions)
