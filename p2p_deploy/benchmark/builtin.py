"""The network that comes with the package, which ``p2p bench`` measures where none is named."""

from __future__ import annotations

from pathlib import Path

from p2p_deploy.errors import require
from p2p_deploy.spec import ImageSpec, ModelSpec


def export_builtin(folder: Path) -> Path:
    """Export a pix2pix U-Net with random weights; see ``reference_spec``.

    Returns:
        The ONNX file, in ``folder``.

    Raises:
        MissingDependency: torch, onnx or onnxscript is not installed.
    """
    for module in ("torch", "onnx", "onnxscript"):
        require(module, "export", "The built-in network")
    import torch

    from p2p_deploy.exporter.onnx import write_onnx
    from p2p_deploy.generators import build_generator

    spec = reference_spec()
    torch.manual_seed(0)
    path = folder / f"{spec.name}.onnx"
    write_onnx(build_generator(spec.arch, spec.arch_kwargs).eval(), spec, path)
    return path


def reference_spec() -> ModelSpec:
    """``unet_256`` of the paper: eight downs, ngf 64, 256 x 256 pixels."""
    return ModelSpec(
        name="unet_256",
        arch="unet",
        arch_kwargs={"num_downs": 8, "ngf": 64},
        inputs=(ImageSpec.for_channels(3),),
        output=ImageSpec.for_channels(3),
        size_multiple=256,
        min_size=256,
        train_size=(256, 256),
        fixed_size=(256, 256),
    )
