"""The quality gate again, on an artefact that exists: anywhere, and where there is a GPU on the plan itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2p_deploy.backends.base import Model
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import ExportError, ModelFileError, SpecError
from p2p_deploy.exporter.memory import memory_for
from p2p_deploy.exporter.quality import Quality, compare, on_frames
from p2p_deploy.exporter.reference import make_reference
from p2p_deploy.files import sha256
from p2p_deploy.options import VerifyOptions
from p2p_deploy.reports import Report
from p2p_deploy.spec import ImageSpec, ModelSpec


@dataclass(frozen=True)
class VerifyReport(Report):
    """How an artefact compares with its checkpoint.

    Attributes:
        model: the artefact.
        device: where it was run.
        quality: the artefact's own outputs against the checkpoint's.
        failure: why that is not good enough, or None.
        same_checkpoint: whether the artefact says that it was made from this very file.
    """

    model: Path | None
    device: str
    quality: Quality
    failure: str | None
    same_checkpoint: bool


def verify(model: Model, against: str | Path, options: VerifyOptions = VerifyOptions()) -> VerifyReport:
    """Run an artefact on images and compare it with its checkpoint.

        >>> import p2p_deploy
        >>> with p2p_deploy.load("facades.onnx") as model:
        ...     report = p2p_deploy.verify(model, "facades.pt")
        >>> report.failure is None, report.same_checkpoint
        (True, True)

    Args:
        model: the artefact, opened where it shall be judged.
        against: the checkpoint it was exported from.
        options: which images it is judged on, and how strictly: FP32 may differ by one grey level, anything else must
            reach ``min_psnr``.

    Raises:
        ModelFileError: the model is a checkpoint itself.
        CheckpointError, SpecError, InputError: the checkpoint or the images cannot be used.
        ExportError: the checkpoint is of a network that takes or gives something else.
        Failed: the runtime failed, or there is not enough memory for images of this size.
    """
    checkpoint = Path(against)
    if model.name == "torch":
        raise ModelFileError(
            f"{model.path} is a checkpoint itself. Verify an .onnx file or .plan that was exported from it."
        )
    loaded = load_checkpoint(checkpoint, options.assume)
    _check_alike(model.spec, loaded.spec, checkpoint)
    spec = model.spec.with_changes(arch=loaded.spec.arch, arch_kwargs=loaded.spec.arch_kwargs)
    with memory_for(spec):
        reference = make_reference(loaded.generator, spec, options.check)
        quality = compare(reference.outputs, on_frames(model), reference.inputs)
    failure = quality.failure(exact=model.precision == "fp32", min_psnr=options.min_psnr)
    same = model.spec.source_sha256 == sha256(checkpoint)
    return VerifyReport(model.path, model.device, quality, failure, same)


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
