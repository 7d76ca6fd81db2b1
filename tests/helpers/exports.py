"""What torch writes of a network, kept: tracing it is nine tenths of an export, and gives the same every time."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from p2p_deploy.spec import ModelSpec

MOST = 2**25  # bytes of a file that is kept
PLAIN = (bool, int, float, str, tuple, torch.dtype, type(None))


def kept(export: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """``p2p_deploy.exporter.onnx._export``, that traces a network once for all who know the folder."""

    @functools.wraps(export)
    def find(model: nn.Module, spec: ModelSpec, opset: int) -> Any:
        path = folder / fingerprint(model, spec, opset)
        if path.exists():
            import onnx

            return onnx.ModelProto.FromString(path.read_bytes())
        keep_operators()
        proto = export(model, spec, opset)
        if proto.ByteSize() < MOST:
            part = path.with_suffix(f".{os.getpid()}")
            part.write_bytes(proto.SerializeToString())
            part.replace(path)
        return proto

    return find


def fingerprint(model: nn.Module, spec: ModelSpec, opset: int) -> str:
    """Of the spec, every module with its attributes and hooks, and all weights."""
    seen = hashlib.sha256(f"{spec.to_json()} {opset} {model!r}".encode())
    for name, module in model.named_modules():
        facts = {key: value for key, value in vars(module).items() if isinstance(value, PLAIN)}
        hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
        closures = [[hook.__qualname__, *(cell.cell_contents for cell in hook.__closure__ or ())] for hook in hooks]
        seen.update(f"{name} {type(module)} {facts} {closures}".encode())
    for name, tensor in model.state_dict().items():
        seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        seen.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return seen.hexdigest()


def keep_operators() -> None:
    """Have torch keep its table of ONNX operators, which it would read anew, for half a second, at every export."""
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    read = getattr(getattr(registration, "ONNXRegistry", None), "from_torchlib", None)
    if read and not hasattr(read, "cache_info"):
        registration.ONNXRegistry.from_torchlib = staticmethod(functools.cache(read))
