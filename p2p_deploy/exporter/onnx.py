"""From a generator to an ONNX file: frames in and out, dynamic batch, the ModelSpec inside."""

from __future__ import annotations

import ast
import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from p2p_deploy.errors import ExportError, require
from p2p_deploy.exporter.precision import DTYPES, Precision, at_precision
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.spec import METADATA_KEY, PRECISION_KEY, ImageSpec, ModelSpec

OPSET = 20
BF16_OPSET = 22  # the first in which a convolution takes bfloat16
OUTPUT = "outputs"
MAX_BYTES = 2**31 - 1  # what one protobuf message can hold
EXTERNAL_BYTES = 1024  # smaller tensors stay inside even then
_LINE_END = "\n"


def write_onnx(
    generator: nn.Module,
    spec: ModelSpec,
    path: Path,
    precision: Precision = "fp32",
    fp32_layers: Collection[str] = (),
) -> None:
    """Export a generator inside its FrameModel.

    The precision is in the graph itself: the generator computes in it, and the pixel arithmetic around it in float32.

    Args:
        generator: in eval mode, float32, on the CPU.
        spec: with ``fixed_size`` set to the (height, width) to export for, or None for any that suit.
        path: the file to write. Beyond 2 GB the weights go into ``path`` + ``.data`` beside it.
        precision: what the generator computes in.
        fp32_layers: names of convolutions that stay in float32.

    Raises:
        ExportError: torch cannot export the network at this size, or the result is no valid ONNX file.
        MissingDependency: onnx or onnxscript is not installed.
    """
    onnx = require("onnx", "export", "Writing an ONNX file")
    require("onnxscript", "export", "Writing an ONNX file")
    model = FrameModel(at_precision(generator, precision, fp32_layers), spec, DTYPES[precision]).eval()
    proto = _export(model, spec, BF16_OPSET if precision == "bf16" else OPSET)
    _clean(proto, spec)
    onnx.helper.set_model_props(proto, {METADATA_KEY: spec.to_json(), PRECISION_KEY: precision})
    large = proto.ByteSize() > MAX_BYTES
    if large:
        onnx.save_model(
            proto, path, save_as_external_data=True, location=external_data(path).name, size_threshold=EXTERNAL_BYTES
        )
    else:
        path.write_bytes(proto.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(path) if large else proto, full_check=True)
    except Exception as exc:
        raise ExportError(f"The exported graph is not valid ONNX: {exc}") from exc


def external_data(path: Path) -> Path:
    """Where the weights of ``x.onnx`` lie when they do not fit into it: ``x.onnx.data``."""
    return path.with_name(f"{path.name}.data")


def add_metadata(path: Path, entries: Mapping[str, str]) -> None:
    """Put texts into an ONNX file's metadata; weights that lie beside it are left alone."""
    onnx = require("onnx", "export", "Writing an ONNX file")
    proto = onnx.load(path, load_external_data=False)
    known = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, {**known, **entries})
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _export(model: FrameModel, spec: ModelSpec, opset: int) -> Any:
    height, width = spec.fixed_size or _trace_size(spec)
    moving = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(_shape(spec, image)) if isinstance(size, str)}
        for image in spec.inputs
    )
    try:
        with _quiet():
            # A batch of 2, because torch.export takes a traced 1 for a constant.
            examples = tuple(
                torch.zeros(2, *image.shape(height, width), dtype=getattr(torch, image.dtype)) for image in spec.inputs
            )
            program = torch.onnx.export(
                model,
                examples,
                input_names=spec.input_names,
                output_names=[OUTPUT],
                dynamic_shapes={"inputs": moving},
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as exc:  # whatever the exporter meets in a network
        reason = _innermost(exc)
        if isinstance(reason, KeyboardInterrupt):  # torch wraps that too
            raise reason from None
        raise ExportError(
            f"torch {torch.__version__} cannot export {spec.arch} at {height}x{width} pixels to ONNX: "
            f"{str(reason).strip().partition(_LINE_END)[0]}"
        ) from exc
    assert program is not None
    return program.model_proto


def _trace_size(spec: ModelSpec) -> tuple[int, int]:
    """A size at which nothing in the network is 1 pixel high or as high as wide, which would be taken for a rule."""
    side = max(2 * spec.min_size, 2 * spec.size_multiple)
    return side, side + spec.size_multiple


def _shape(spec: ModelSpec, image: ImageSpec) -> tuple[str | int, ...]:
    """The shape of a batch of images: names of the dimensions that may vary, sizes of the others."""
    return ("batch", *image.shape(*(spec.fixed_size or ("height", "width"))))


def _innermost(exc: BaseException) -> BaseException:
    """What set off a chain of exceptions; the outer ones are about torch.export."""
    while inner := exc.__cause__ or exc.__context__:
        exc = inner
    return exc


def _clean(proto: Any, spec: ModelSpec) -> None:
    """Drop what the exporter leaves behind (stack traces with source paths); name nodes after their modules."""
    graph = proto.graph
    for value, image in zip((*graph.input, *graph.output), (*spec.inputs, spec.output), strict=True):
        for dimension, name in zip(value.type.tensor_type.shape.dim, _shape(spec, image), strict=True):
            if isinstance(name, str):
                dimension.dim_param = name
    names = _node_names(graph)
    renamed = {name: name for name in (*spec.input_names, OUTPUT)}
    for node, name in zip(graph.node, names, strict=True):
        node.name = name
        for index, output in enumerate(node.output):
            renamed.setdefault(output, name if index == 0 else f"{name}.{index}")
    for node in graph.node:
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed[value] for value in node.output]
    del graph.value_info[:]
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    proto.producer_name, proto.producer_version = "p2p-deploy", ""


def _node_names(graph: Any) -> list[str]:
    """``generator.downs.1.conv`` for the node of that module, ``generator.Concat`` for one written between modules.

    Nodes of the FrameModel itself are named after their operator; repeats get a number.
    """
    scopes = [_scopes(node) for node in graph.node]
    containers = {scope for path in scopes for scope in path[:-1]}
    names: list[str] = []
    for node, path in zip(graph.node, scopes, strict=True):
        inner = path[-1] if path else ""
        base = inner if inner and inner not in containers else f"{inner}.{node.op_type}".lstrip(".")
        name, number = base, 0
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _scopes(node: Any) -> list[str]:
    """The modules around a node, outermost first: ``['generator', 'generator.downs.1', 'generator.downs.1.conv']``."""
    text = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "[]")
    return [scope for scope in ast.literal_eval(text)[:-1] if scope]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks: what matters is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
