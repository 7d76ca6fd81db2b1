"""Small graphs that TensorRT builds in seconds, and the building."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from p2p_deploy.exporter.tensorrt.builder import build_plan
from p2p_deploy.exporter.tensorrt.flavours import find_flavour
from p2p_deploy.options.export import BuildOptions
from p2p_deploy.spec.sidecar import Profile

ELEMENT = {"half": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "float": TensorProto.FLOAT}
ANY = Profile((1, 2, 4), (64, 64, 128), (64, 96, 128))
ONE = Profile((1, 1, 1), (64, 64, 64), (64, 64, 64))
MACS_OF_A_KERNEL = (3 * 8 * 16, 3 * 8 * 16)


def write_graph(path, *, kinds=("half", "half"), size=("height", "width"), batch="batch", uint8=True, skip=False):
    """A convolution that halves the picture and a deconvolution that doubles it, each in its element type.

    With ``skip`` the result is joined to the input, as in a U-Net, which works for even heights and widths only.
    """
    shape = [batch, *size, 3] if uint8 else [batch, 3, *size]
    nodes = [helper.make_node("Cast", ["frames"], ["floats"], "Cast", to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Transpose", ["floats"], ["x"], "Transpose", perm=[0, 3, 1, 2] if uint8 else range(4))]
    weights, random = [], np.random.default_rng(0)
    edges = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    names = ("Conv", "generator.downs.0.conv"), ("ConvTranspose", "generator.ups.0.conv")
    for index, (kind, (operator, name), value) in enumerate(zip(kinds, names, ("x", names[0][1]), strict=True)):
        values = random.normal(0, 0.1, 8 * 3 * 4 * 4)
        weights.append(helper.make_tensor(f"weight{index}", ELEMENT[kind], (8, 3, 4, 4), values))
        nodes.append(helper.make_node("Cast", [value], [f"cast{index}"], f"Cast_{index}", to=ELEMENT[kind]))
        nodes.append(helper.make_node(operator, [f"cast{index}", f"weight{index}"], [name], name, **edges))
    nodes.append(helper.make_node("Cast", [names[1][1]], ["back"], "Cast_back", to=TensorProto.FLOAT))
    if skip:
        nodes.append(helper.make_node("Concat", ["x", "back"], ["joined"], "generator.Concat", axis=1))
    last = "joined" if skip else "back"
    nodes.append(helper.make_node("Transpose", [last], ["levels"], "Out", perm=[0, 2, 3, 1] if uint8 else range(4)))
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    nodes.append(helper.make_node("Cast", ["levels"], ["outputs"], "Cast_out", to=kind))
    given = helper.make_tensor_value_info("outputs", kind, [None] * 4)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("frames", kind, shape)], [given], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def build(path, *profiles, on_progress=lambda *step: None, flavour=None, **options):
    """Build beside the ONNX file."""
    chosen = BuildOptions(profiles=profiles or (ANY,), **options)
    return build_plan(path, path.with_suffix(".plan"), chosen, flavour or find_flavour("rtx"), on_progress)


def assert_nothing_left(onnx_path):
    assert [path.name for path in onnx_path.parent.iterdir()] == [onnx_path.name]
