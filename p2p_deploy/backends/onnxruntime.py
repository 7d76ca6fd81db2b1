"""ONNX Runtime: the embedded default, on the CPU; CUDA where it was asked for and is really there."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any

from p2p_deploy.backends import cuda
from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.errors import DeviceError, Failed, MissingDependency, ModelFileError, OutOfMemory
from p2p_deploy.machine import available_cores
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec import ModelSpec
from p2p_deploy.spec.onnx_metadata import read_onnx

_TYPES = {"uint8": "tensor(uint8)", "int32": "tensor(int32)", "float32": "tensor(float)"}
PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def installed_packages() -> list[str]:
    """Which of the two distributions that both provide the module ``onnxruntime`` are installed."""
    return [package for package in PACKAGES if any(importlib.metadata.distributions(name=package))]


def import_runtime() -> Any:
    """The module ``onnxruntime``.

    Raises:
        MissingDependency: it is not installed, or both distributions are, which leaves a mixture of the two.
    """
    if len(installed_packages()) == len(PACKAGES):
        raise MissingDependency(
            "Both onnxruntime and onnxruntime-gpu are installed, and they overwrite each other's files. Keep one: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'p2p-deploy[cpu]' or 'p2p-deploy[gpu]'"
        )
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingDependency(
            f"Running an ONNX file needs ONNX Runtime, which cannot be imported here ({exc}). Install it with: "
            "pip install 'p2p-deploy[cpu]', or 'p2p-deploy[gpu]' where there is an NVIDIA GPU"
        ) from exc
    return onnxruntime


class OnnxRuntimeModel(Model):
    """An ONNX file written by ``p2p export``, run by ONNX Runtime.

    Raises:
        ModelFileError: the file is missing, damaged, or of another program.
        DeviceError: the GPU that was asked for cannot be used, or the CPU cannot compute in the file's precision.
        MissingDependency: ONNX Runtime is not installed.
        SpecError: the ModelSpec inside cannot be read.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, options: LoadOptions = LoadOptions()) -> None:
        self._runtime = import_runtime()
        self._threads = options.threads or available_cores()
        device, providers = _providers(self._runtime, options.device)
        header = read_onnx(path)
        self.precision = header.precision
        if device == "cpu" and self.precision == "bf16":
            raise DeviceError(
                f"{path} computes in bf16, and ONNX Runtime has no bf16 convolutions on the CPU. Run the FP32 file "
                "that was exported with it, or the plan on a GPU."
            )
        self._session = self._open(path, providers)
        if device != "cpu" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise DeviceError(
                f"{device} was asked for, but ONNX Runtime fell back to {', '.join(self._session.get_providers())}: "
                "its CUDA libraries do not load. Run p2p doctor, or take `device=cpu`."
            )
        self._check_signature(path, header.spec)
        super().__init__(header.spec, device)
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def _open(self, path: Path, providers: list[Any]) -> Any:
        session_options = self._runtime.SessionOptions()
        session_options.intra_op_num_threads = self._threads
        # Threads wait for the next layer in a loop, which is quicker than waking; but not for much longer than layers
        # need, because once a batch is done, the cores belong to those that decode and encode.
        session_options.add_session_config_entry("session.intra_op.spin_duration_us", "1000")
        session_options.log_severity_level = 4  # what matters is raised, and said by us
        try:
            return self._runtime.InferenceSession(str(path), session_options, providers=providers)
        except Exception as exc:  # ONNX Runtime's own exceptions share no public base class
            raise ModelFileError(f"{path} is not an ONNX file that ONNX Runtime can open: {_reason(exc)}") from exc

    def _check_signature(self, path: Path, spec: ModelSpec) -> None:
        """The graph must take and give what the spec says, or slots would be bound to the wrong memory."""
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        found = [(value.type, list(value.shape)[1:]) for value in values]
        size = spec.fixed_size or ("height", "width")
        expected = [(_TYPES[image.dtype], [*image.shape(*size)]) for image in (*spec.inputs, spec.output)]
        if found != expected:
            raise ModelFileError(
                f"{path}: its ModelSpec promises {expected}, the graph has {found}. The file was altered; "
                "export the checkpoint again."
            )

    def submit(self, slot: Slot) -> None:
        """Run the batch; ONNX Runtime writes straight into the slot's output."""
        binding = self._session.io_binding()
        ends = [(binding.bind_input, name, rows) for name, rows in zip(self._inputs, slot.inputs, strict=True)]
        for bind, name, rows in (*ends, (binding.bind_output, self._output, slot.output)):
            bind(name, "cpu", 0, rows.dtype.type, (slot.count, *rows.shape[1:]), rows.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as exc:
            error = OutOfMemory if re.search("allocat|out of memory|bad_alloc", str(exc), re.I) else Failed
            raise error(f"ONNX Runtime failed on a batch of {slot.count} on {self.device}: {_reason(exc)}") from exc

    def wait(self, slot: Slot) -> None:
        """Nothing to do: ``submit`` computes."""

    def versions(self) -> dict[str, str]:
        """Runtime, device and threads."""
        return {
            "onnxruntime": self._runtime.__version__,
            "provider": self._session.get_providers()[0],
            "device": self.device if self.device != "cpu" else platform.machine(),
            "threads": str(self._threads),
        }

    def close(self) -> None:
        """Drop the session."""
        super().close()
        self._session = None


def _providers(runtime: Any, device: str) -> tuple[str, list[Any]]:
    if device in ("auto", "cpu"):
        return "cpu", ["CPUExecutionProvider"]
    available = runtime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise DeviceError(
            f"{device} was asked for, but this ONNX Runtime has only {', '.join(available)}. Install the GPU build "
            "(pip uninstall onnxruntime; pip install 'p2p-deploy[gpu]'), or take `device=cpu`."
        )
    index = int(device.partition(":")[2] or 0)
    if index >= cuda.device_count():
        raise DeviceError(f"{device} was asked for, but there are {cuda.device_count()} GPUs here. Take `device=cpu`.")
    return device, [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _reason(exc: Exception) -> str:
    """The first line of ONNX Runtime's message without its ``[ONNXRuntimeError] : 7 : NAME :`` prefix."""
    return str(exc).partition("\n")[0].rpartition(" : ")[2].strip()
