"""The runtimes. Each is imported only when a model of its kind is opened."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.errors import DeviceError, ModelFileError, require

# suffix -> (module, what opens the file, its options class)
_ONNXRUNTIME = ("onnxruntime", "OnnxRuntimeModel", "OnnxRuntimeOptions")
_TORCH = ("torch", "TorchModel", "TorchOptions")
_TENSORRT = ("tensorrt", "open_plan", "TensorRTOptions")
BACKENDS = {
    ".onnx": _ONNXRUNTIME,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH,
    ".plan": _TENSORRT,
    ".engine": _TENSORRT,
}

__all__ = ["BACKENDS", "Model", "Slot", "load"]


def load(path: str | Path, *, device: str = "auto", **options: Any) -> Model:
    """Open a model for running; the suffix says which runtime.

    Args:
        path: an ``.onnx`` file, a checkpoint (``.pt``, ``.pth``) or a TensorRT ``.plan``.
        device: ``auto``, ``cpu`` or ``cuda:N``. ``auto`` is the CPU, and the first GPU for a plan.
        options: further fields of the backend's options class, such as ``threads`` for ONNX Runtime.

    Returns:
        The model: call it with (N, H, W, C) uint8 frames. It is a context manager.

    Raises:
        ModelFileError, CheckpointError, SpecError: the file cannot be used.
        DeviceError: the device cannot be used; there is no silent fallback to the CPU.
        MissingDependency: the runtime is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in BACKENDS:
        raise ModelFileError(
            f"{path} is not a model this program knows by its suffix; expected one of {', '.join(BACKENDS)}."
        )
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise DeviceError(f"Unknown device {device!r}; expected auto, cpu or cuda:N such as cuda:0.")
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist, or is not a file.")
    module_name, opener, options_class = BACKENDS[path.suffix.lower()]
    if module_name == "torch":
        require("torch", "export", "Opening a checkpoint")
    module = importlib.import_module(f"p2p_deploy.backends.{module_name}")
    model: Model = getattr(module, opener)(path, getattr(module, options_class)(device=device, **options))
    model.path = path
    return model
