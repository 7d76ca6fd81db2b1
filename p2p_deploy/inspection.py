"""What a model file is, as plain values: for ``p2p info``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_deploy.backends import BACKENDS
from p2p_deploy.errors import ModelFileError, require
from p2p_deploy.files import sha256
from p2p_deploy.spec import ImageSpec, ModelSpec
from p2p_deploy.spec.onnx_metadata import read_onnx
from p2p_deploy.spec.sidecar import read_sidecar

if TYPE_CHECKING:
    from p2p_deploy.checkpoints import Assumptions


def inspect_model(path: Path, assume: Assumptions | None = None) -> dict[str, Any]:
    """Read a checkpoint, ONNX file or plan and describe it; nothing is run.

    Args:
        path: the file.
        assume: what the keys of a foreign checkpoint cannot tell.

    Raises:
        ModelFileError, CheckpointError, SpecError: the file cannot be read.
        MissingDependency: the package that reads it is not installed.
    """
    if path.suffix.lower() not in BACKENDS:
        raise ModelFileError(f"{path} is not a model by its suffix; expected one of {', '.join(BACKENDS)}.")
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist, or is not a file.")
    reader = READERS[BACKENDS[path.suffix.lower()][0]]
    if assume and reader is not _checkpoint:
        raise ModelFileError(f"{path} says itself what it is; leave out the --arch options.")
    facts = _checkpoint(path, assume) if assume else reader(path)
    return {"file": str(path), "bytes": path.stat().st_size, **facts}


def _onnx(path: Path) -> dict[str, Any]:
    header = read_onnx(path)
    where = "an NVIDIA GPU" if header.precision == "bf16" else "the CPU or an NVIDIA GPU"
    return {
        "kind": "ONNX",
        **_spec(header.spec),
        "precision": header.precision,
        "quality": header.quality,
        "runs": f"ONNX Runtime, on {where}",
    }


def _checkpoint(path: Path, assume: Assumptions | None = None) -> dict[str, Any]:
    require("torch", "export", "Reading a checkpoint")
    from p2p_deploy.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(path, assume)
    parameters = sum(parameter.numel() for parameter in checkpoint.generator.parameters())
    return {
        "kind": "checkpoint",
        "family": checkpoint.family,
        "inferred": list(checkpoint.inferred),
        "assumed": list(checkpoint.assumed),
        **_spec(checkpoint.spec),
        "parameters": parameters,
        "training": dict(checkpoint.training),
        "runs": "PyTorch; p2p export makes an ONNX file of it",
    }


def _plan(path: Path) -> dict[str, Any]:
    sidecar = read_sidecar(path)
    return {
        "kind": "TensorRT plan",
        **_spec(sidecar.spec),
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
        "intact": sha256(path) == sidecar.plan_sha256,
        "source": sidecar.source_onnx,
        "runs": "an NVIDIA GPU with this flavour and version of TensorRT",
    }


def _spec(spec: ModelSpec) -> dict[str, Any]:
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


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "onnxruntime": _onnx,
    "torch": _checkpoint,
    "tensorrt": _plan,
}
