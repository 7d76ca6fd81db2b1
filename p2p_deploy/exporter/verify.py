"""The quality gate again, on an artefact that exists: anywhere, and where there is a GPU on the plan itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p_deploy.backends.base import Model
from p2p_deploy.checkpoints import Assumptions, load_checkpoint
from p2p_deploy.errors import ExportError, SpecError
from p2p_deploy.exporter.memory import memory_for
from p2p_deploy.exporter.quality import Quality, compare, on_frames
from p2p_deploy.exporter.reference import make_reference
from p2p_deploy.files import sha256
from p2p_deploy.spec import ImageSpec, ModelSpec


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Attributes:
        quality: the artefact's own outputs against the checkpoint's.
        failure: why that is not good enough, or None.
        same_checkpoint: whether the artefact says that it was made from this very file.
    """

    quality: Quality
    failure: str | None
    same_checkpoint: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "quality": self.quality.to_dict(),
            "failure": self.failure,
            "same_checkpoint": self.same_checkpoint,
        }


def verify_model(
    model: Model, checkpoint: Path, *, check: Path | None, min_psnr: float, assume: Assumptions | None = None
) -> Verification:
    """Run an artefact on images and hold it against its checkpoint.

    Args:
        model: the artefact, opened where it shall be judged.
        checkpoint: what it was exported from.
        check: a folder of images; None takes the photographs that ship with the package.
        min_psnr: decibels that anything but FP32 must reach; FP32 may differ by one grey level.
        assume: what the keys of a foreign checkpoint cannot tell.

    Raises:
        CheckpointError, SpecError, InputError: the checkpoint or the images cannot be used.
        ExportError: the checkpoint is of a network that takes or gives something else.
        Failed: the runtime failed, or there is not enough memory for images of this size.
    """
    loaded = load_checkpoint(checkpoint, assume)
    _check_alike(model.spec, loaded.spec, checkpoint)
    spec = model.spec.with_changes(arch=loaded.spec.arch, arch_kwargs=loaded.spec.arch_kwargs)
    with memory_for(spec):
        reference = make_reference(loaded.generator, spec, check)
        quality = compare(reference.outputs, on_frames(model), reference.inputs)
    failure = quality.failure(exact=model.precision == "fp32", min_psnr=min_psnr)
    return Verification(quality, failure, model.spec.source_sha256 == sha256(checkpoint))


def _check_alike(artefact: ModelSpec, network: ModelSpec, checkpoint: Path) -> None:
    """Raise ExportError unless the network takes and gives what the artefact does, at the artefact's size."""
    ends, expected = ([*map(_pixels, (*spec.inputs, spec.output))] for spec in (artefact, network))
    if ends != expected:
        raise ExportError(
            f"The model takes {' and '.join(ends[:-1])} and gives {ends[-1]}; {checkpoint} takes "
            f"{' and '.join(expected[:-1])} and gives {expected[-1]}. Name the checkpoint it was exported from."
        )
    height, width = artefact.working_size
    try:
        network.check_size(height, width)
    except SpecError as exc:
        reason = str(exc)
    else:
        if network.fixed_size in (None, artefact.working_size):
            return
        reason = "its size {}x{} is in its weights.".format(*network.fixed_size)
    raise ExportError(
        f"The model takes {height}x{width} pixels, which {checkpoint} does not: {reason} Name the checkpoint it was "
        "exported from."
    )


def _pixels(image: ImageSpec) -> str:
    """What has to be the same of an image, in words; its element type is the artefact's own affair."""
    if image.kind == "latent":
        return f"latent vectors of {image.channels} numbers"
    if image.kind == "class":
        return f"{image.classes} classes"
    if image.kind != "image":
        return f"{image.classes} labels" if image.classes else image.kind
    low, high = image.value_range
    return f"{image.color} images from {low:g} to {high:g}"
