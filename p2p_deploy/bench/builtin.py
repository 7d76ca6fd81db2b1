"""Networks that come with the package: the reference that ``p2p bench`` measures, and one that does nothing."""

from __future__ import annotations

from pathlib import Path

from p2p_deploy.errors import require
from p2p_deploy.spec import METADATA_KEY, ImageSpec, ModelSpec


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

    from p2p_deploy.export.onnx import write_onnx
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


def write_identity(path: Path, size: int = 32, channels: int = 3) -> Path:
    """Write an ONNX file that gives back the frames it takes: what is left of a run is everything but the network.

    Args:
        path: the file to write.
        size: height and width, pixels.
        channels: 3 for RGB, 1 for grey.

    Returns:
        ``path``.
    """
    onnx = require("onnx", "export", "Writing an ONNX file")
    helper, kinds = onnx.helper, onnx.TensorProto
    image = ImageSpec.for_channels(channels)
    spec = ModelSpec("identity", "identity", {}, (image,), image, 1, 1, (size, size), (size, size))
    shape = ["batch", size, size, channels]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["x"], to=kinds.FLOAT),
            helper.make_node("Cast", ["x"], ["outputs"], to=kinds.UINT8),
        ],
        "identity",
        [helper.make_tensor_value_info("frames", kinds.UINT8, shape)],
        [helper.make_tensor_value_info("outputs", kinds.UINT8, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    path.write_bytes(model.SerializeToString())
    return path
