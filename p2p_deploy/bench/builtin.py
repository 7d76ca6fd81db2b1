"""The reference network that ``p2p bench`` measures when it is given none."""

from __future__ import annotations

from pathlib import Path

from p2p_deploy.errors import require
from p2p_deploy.spec import ImageSpec, ModelSpec


def export_builtin(folder: Path, *, ngf: int = 64, num_downs: int = 8) -> Path:
    """Export a pix2pix U-Net with random weights: ``unet_256`` of the paper by default.

    Returns:
        The ONNX file, in ``folder``.

    Raises:
        MissingDependency: torch, onnx or onnxscript is not installed.
    """
    for module in ("torch", "onnx", "onnxscript"):
        require(module, "export", "The built-in network")
    import torch

    from p2p_deploy.export.onnx import write_onnx
    from p2p_deploy.generators import build_generator

    size = 2**num_downs
    spec = ModelSpec(
        name=f"unet_{size}",
        arch="unet",
        arch_kwargs={"num_downs": num_downs, "ngf": ngf},
        inputs=(ImageSpec.for_channels(3),),
        output=ImageSpec.for_channels(3),
        size_multiple=size,
        min_size=size,
        train_size=(size, size),
        fixed_size=(size, size),
    )
    torch.manual_seed(0)
    path = folder / f"{spec.name}.onnx"
    write_onnx(build_generator(spec.arch, spec.arch_kwargs).eval(), spec, path)
    return path
