"""Networks for tests and benchmarks: one whose output varies without training, and one that does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from p2p_deploy.spec import METADATA_KEY, Dtype, ImageSpec, ModelSpec


def vary_output(generator: nn.Module, x_NCHW: Tensor) -> nn.Module:
    """Give a network random weights with which its output varies as a trained one's does, and return it in eval mode.

    A freshly initialised network answers almost the same grey to everything, and any comparison of it would pass. Here
    norms have scales and shifts, statistics come from ``x_NCHW``, and the last convolution saturates the tanh little.

    Args:
        generator: any of ours; changed in place. The random numbers are torch's.
        x_NCHW: pictures in [-1, 1].
    """
    convolutions = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    last: list[Any] = []
    hooks = [m.register_forward_hook(lambda module, x, y: last.append(module)) for m in convolutions]
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.weight[:, 0].numel() / 4
            nn.init.normal_(module.weight, 0, fan_in**-0.5)
        elif isinstance(module, nn.BatchNorm2d):
            if module.affine:
                nn.init.normal_(module.weight, 1, 0.2)
                nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = None  # a true mean instead of a decaying one
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        generator.train()(x_NCHW)
        before_tanh = torch.atanh(generator.eval()(x_NCHW).clamp(-0.9999, 0.9999))
        last[-1].weight.mul_(0.6 / before_tanh.std())
        if last[-1].bias is not None:
            last[-1].bias.zero_()
    for hook in hooks:
        hook.remove()
    return generator.eval()


def write_identity(path: Path, size: int = 32, channels: int = 3, io: Dtype = "uint8") -> Path:
    """Write an ONNX file that gives back the frames it takes: what is left of a run is everything but the network.

    Args:
        path: the file to write.
        size: height and width, pixels.
        channels: 3 for RGB, 1 for grey.
        io: what it takes and gives, see ``ImageSpec.dtype``.

    Returns:
        ``path``.
    """
    helper, kinds = onnx.helper, onnx.TensorProto
    image = ImageSpec.for_channels(channels)
    spec = ModelSpec("identity", "identity", {}, (image,), image, 1, 1, (size, size), (size, size)).with_io(io)
    shape = ["batch", *spec.input.shape(size, size)]
    kind = kinds.UINT8 if io == "uint8" else kinds.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["x"], to=kinds.FLOAT),
            helper.make_node("Cast", ["x"], ["outputs"], to=kind),
        ],
        "identity",
        [helper.make_tensor_value_info("frames", kind, shape)],
        [helper.make_tensor_value_info("outputs", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    path.write_bytes(model.SerializeToString())
    return path
