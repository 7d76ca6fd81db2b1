"""What a model file is, without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from p2p_deploy.backends import runtime_of
from p2p_deploy.errors import ModelFileError, require
from p2p_deploy.files import sha256
from p2p_deploy.options import Assumptions
from p2p_deploy.reports import Report
from p2p_deploy.spec import ImageSpec, ModelSpec
from p2p_deploy.spec.onnx_metadata import read_onnx
from p2p_deploy.spec.sidecar import PlanSidecar, read_sidecar


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Report):
    """What every model file says of itself. In JSON the spec is described in words.

    Attributes:
        file: the file.
        bytes: its size.
        spec: its ModelSpec.
    """

    kind: ClassVar[str]
    runs: ClassVar[str]

    file: Path
    bytes: int
    spec: ModelSpec

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what the file is, what the spec says, then what this kind of file says."""
        values = super().to_dict()
        values.pop("spec")
        file, size = values.pop("file"), values.pop("bytes")
        return {"file": file, "bytes": size, "kind": self.kind, **_described(self.spec), **values, "runs": self.runs}


@dataclass(frozen=True, kw_only=True)
class OnnxFacts(ModelFacts):
    """An ONNX file that was exported here.

    Attributes:
        precision: what it computes in.
        quality: how it compares with its checkpoint; empty where that was not measured.
    """

    kind = "ONNX"
    precision: str | None
    quality: Mapping[str, Any] | None

    @property
    def runs(self) -> str:  # type: ignore[override]
        """What runs it."""
        return f"ONNX Runtime, on {'an NVIDIA GPU' if self.precision == 'bf16' else 'the CPU or an NVIDIA GPU'}"


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts(ModelFacts):
    """A checkpoint, ours or another program's.

    Attributes:
        family: whose it is, in words.
        inferred: what its keys told.
        assumed: what they did not tell, and what was taken instead.
        parameters: how many numbers its network has.
        training: what its trainer noted.
    """

    kind = "checkpoint"
    runs = "PyTorch; p2p export makes an ONNX file of it"
    family: str
    inferred: tuple[str, ...]
    assumed: tuple[str, ...]
    parameters: int
    training: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlanFacts(ModelFacts):
    """A TensorRT plan.

    Attributes:
        sidecar: what lies beside it; in JSON its fields stand beside the others.
        intact: whether the plan is the one that the sidecar describes.
    """

    kind = "TensorRT plan"
    runs = "an NVIDIA GPU with this flavour and version of TensorRT"
    sidecar: PlanSidecar
    intact: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        values, sidecar = super().to_dict(), self.sidecar
        del values["sidecar"], values["intact"], values["runs"]
        return {
            **values,
            "flavour": f"{sidecar.flavour} {sidecar.flavour_version}",
            "built_on": sidecar.platform,
            "gpu": sidecar.gpu,
            "compute_capabilities": list(sidecar.compute_capabilities),
            "profiles": [str(profile) for profile in sidecar.profiles],
            "version_compatible": sidecar.version_compatible,
            "hardware_compatible": sidecar.hardware_compatible,
            "precision": dict(sidecar.precision),
            "quality": dict(sidecar.quality),
            "executed": sidecar.executed,
            "intact": self.intact,
            "source": sidecar.source_onnx,
            "runs": self.runs,
        }


def inspect(path: str | Path, assume: Assumptions = Assumptions()) -> ModelFacts:
    """Read a checkpoint, ONNX file or plan and describe it; nothing is run.

        >>> import p2p_deploy
        >>> facts = p2p_deploy.inspect("facades.onnx")
        >>> facts.kind, facts.precision, facts.spec.fixed_size
        ('ONNX', 'fp32', (64, 64))

    Args:
        path: the file.
        assume: what the keys of a foreign checkpoint cannot tell.

    Raises:
        ModelFileError, CheckpointError, SpecError: the file cannot be read.
        MissingDependency: the package that reads it is not installed.
    """
    path = Path(path)
    runtime = runtime_of(path)
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist, or is not a file.")
    if assume != Assumptions() and runtime != "torch":
        raise ModelFileError(f"{path} says itself what it is; leave out what is assumed about it.")
    return READERS[runtime](path, assume)


def _onnx(path: Path, assume: Assumptions) -> OnnxFacts:
    header = read_onnx(path)
    size = path.stat().st_size
    return OnnxFacts(file=path, bytes=size, spec=header.spec, precision=header.precision, quality=header.quality)


def _checkpoint(path: Path, assume: Assumptions) -> CheckpointFacts:
    require("torch", "export", "Reading a checkpoint")
    from p2p_deploy.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(path, assume)
    return CheckpointFacts(
        file=path,
        bytes=path.stat().st_size,
        spec=checkpoint.spec,
        family=checkpoint.family,
        inferred=tuple(checkpoint.inferred),
        assumed=tuple(checkpoint.assumed),
        parameters=sum(parameter.numel() for parameter in checkpoint.generator.parameters()),
        training=dict(checkpoint.training),
    )


def _plan(path: Path, assume: Assumptions) -> PlanFacts:
    sidecar = read_sidecar(path)
    intact = sha256(path) == sidecar.plan_sha256
    return PlanFacts(file=path, bytes=path.stat().st_size, spec=sidecar.spec, sidecar=sidecar, intact=intact)


def _described(spec: ModelSpec) -> dict[str, Any]:
    height, width = spec.working_size
    multiple = f"any multiple of {spec.size_multiple}, trained at {height}x{width}"
    facts = {
        "name": spec.name,
        "architecture": spec.arch,
        "arguments": dict(spec.arch_kwargs),
        "input": " and ".join(_image(image) for image in spec.inputs),
        "output": _image(spec.output),
        "size": f"{height}x{width}" if spec.fixed_size else multiple,
        "norm_statistics": spec.norm_stats,
        "direction": spec.direction,
        "checkpoint_sha256": spec.source_sha256,
        "created_with": spec.created_with,
    }
    return {**facts, **({"unknown_keys": dict(spec.extra)} if spec.extra else {})}


def _image(image: ImageSpec) -> str:
    shape = ", ".join(map(str, image.shape("H", "W")))
    if image.kind != "image":
        classes = f" 0 to {image.classes - 1}" if image.classes else ""
        return f"{image.kind}{classes} {image.dtype}, (N, {shape})"
    low, high = image.value_range
    where = "" if image.dtype == "float32" else " inside the network"
    return f"{image.color} {image.dtype}, (N, {shape}), {low:g} to {high:g}{where}"


READERS: dict[str, Callable[[Path, Assumptions], ModelFacts]] = {
    "onnxruntime": _onnx,
    "torch": _checkpoint,
    "tensorrt": _plan,
}
