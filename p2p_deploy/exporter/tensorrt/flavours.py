"""Which TensorRT builds a plan: ``tensorrt``, or TensorRT for RTX."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from p2p_deploy.backends import cuda
from p2p_deploy.backends.cuda_runtime import CudaDevice, import_cuda, keeping_device
from p2p_deploy.backends.tensorrt.preflight import RUNTIMES, TITLES, import_first
from p2p_deploy.errors import DeviceError, MissingDependency
from p2p_deploy.options.export import FlavourChoice


@dataclass(frozen=True)
class Flavour:
    """One of the two TensorRTs, imported.

    Attributes:
        name: ``tensorrt`` or ``rtx``.
        module: the Python module with the TensorRT API.
        version: its full version.
    """

    name: str
    module: Any
    version: str

    def __str__(self) -> str:
        return f"{TITLES[self.name]} {self.version}"


def find_flavour(choice: FlavourChoice = "auto") -> Flavour:
    """Import the builder: for ``auto`` ``tensorrt`` where it is installed and there is a GPU, else TensorRT for RTX.

    Raises:
        MissingDependency: the flavour, or with ``auto`` both, cannot be imported.
        DeviceError: ``tensorrt`` is there, and there is no GPU to build on.
    """
    without_gpu = False
    for name in ("tensorrt", "rtx") if choice == "auto" else (choice,):
        module = _import_flavour(name)
        if module is None:
            continue
        if name == "tensorrt" and cuda.device_count() == 0:
            without_gpu = True
            continue
        return Flavour(name, module, module.__version__)
    if without_gpu:
        raise DeviceError(
            "tensorrt is installed, but builds plans only on a machine with an NVIDIA GPU, and none is visible here. "
            "TensorRT for RTX builds without one: pip install 'p2p-deploy[trt-rtx]', then `flavour=rtx`"
        )
    install = {name: f"pip install 'p2p-deploy[{extra}]'" for name, (_, extra) in RUNTIMES.items()}
    install["auto"] = f"{install['tensorrt']}, or, without a GPU, {install['rtx']}"
    raise MissingDependency(
        f"Building a plan needs TensorRT, which cannot be imported here (flavour: {choice}). Install it with: "
        f"{install[choice]}"
    )


@contextlib.contextmanager
def building_on(flavour: Flavour, device: int) -> Iterator[None]:
    """Let ``tensorrt`` build on this GPU while the block lasts; TensorRT for RTX builds without one.

    Raises:
        MissingDependency: cuda-bindings, which selects a GPU, is not installed.
        DeviceError: CUDA does not offer this GPU.
    """
    if flavour.name != "tensorrt":
        yield
        return
    runtime = import_cuda()
    with keeping_device(runtime):
        CudaDevice(runtime, device)  # selects it
        yield


def _import_flavour(name: str) -> Any:
    return import_first(RUNTIMES[name][0])
