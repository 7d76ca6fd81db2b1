"""The runtimes. Each is imported only when a model of its kind is opened."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.errors import DeviceError, ModelFileError, require
from p2p_deploy.options import LoadOptions

# suffix -> (module, what opens the file: given the path and LoadOptions)
_ONNXRUNTIME = ("onnxruntime", "OnnxRuntimeModel")
_TORCH = ("torch", "TorchModel")
_TENSORRT = ("tensorrt", "open_plan")
BACKENDS = {
    ".onnx": _ONNXRUNTIME,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH,
    ".plan": _TENSORRT,
    ".engine": _TENSORRT,
}

__all__ = ["BACKENDS", "Model", "Slot", "load", "runtime_of"]


def runtime_of(path: Path) -> str:
    """The runtime that opens a file, by its suffix: ``onnxruntime``, ``torch`` or ``tensorrt``.

    Raises:
        ModelFileError: none does.
    """
    if path.suffix.lower() not in BACKENDS:
        raise ModelFileError(
            f"{path} is not a model this program knows by its suffix; expected one of {', '.join(BACKENDS)}."
        )
    return BACKENDS[path.suffix.lower()][0]


def load(path: str | Path, options: LoadOptions = LoadOptions()) -> Model:
    """Open a model; a plan that does not fit this machine raises StalePlan. See ``runner.models.load``."""
    path = Path(path)
    runtime = runtime_of(path)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", options.device):
        raise DeviceError(f"Unknown device {options.device!r}; expected auto, cpu or cuda:N such as cuda:0.")
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist, or is not a file.")
    if runtime != "tensorrt" and (options.rebuild or options.trust_plan):
        given = "`rebuild`" if options.rebuild else "`trust_plan`"
        raise ModelFileError(f"{given} is for TensorRT plans, and {path} is none. Leave it out.")
    if runtime == "torch":
        require("torch", "export", "Opening a checkpoint")
    module = importlib.import_module(f"p2p_deploy.backends.{runtime}")
    model: Model = getattr(module, BACKENDS[path.suffix.lower()][1])(path, options)
    model.path = path
    return model
