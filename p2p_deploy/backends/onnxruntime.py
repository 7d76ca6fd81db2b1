"""ONNX Runtime: the embedded default, on the CPU; CUDA where it was asked for and is really there."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.backends import cuda
from p2p_deploy.backends.base import Backend, Slot, available_cores
from p2p_deploy.errors import DeviceError, Failed, MissingDependency, ModelFileError, P2PError
from p2p_deploy.spec import METADATA_KEY, PRECISION_KEY, QUALITY_KEY, ModelSpec

PACKAGES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class OnnxRuntimeOptions:
    """How to open an ONNX file.

    Attributes:
        device: ``auto`` and ``cpu`` mean the CPU, ``cuda:N`` that GPU or an error.
        threads: CPU threads for one inference; None takes one per core.
        optimize: False skips graph optimisation, for opening a file only to read what it is.
    """

    device: str = "auto"
    threads: int | None = None
    optimize: bool = True


def installed_packages() -> list[str]:
    """Which of the two distributions that both provide the module ``onnxruntime`` are installed."""
    found = []
    for package in PACKAGES:
        try:
            importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(package)
    return found


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


class OnnxRuntimeBackend(Backend):
    """An ONNX file written by ``p2p export``, run by ONNX Runtime.

    Attributes:
        quality: how it compared with its checkpoint, as its metadata says; empty when it says nothing.

    Raises:
        ModelFileError: the file is missing, damaged, or of another program.
        DeviceError: the GPU that was asked for cannot be used.
        MissingDependency: ONNX Runtime is not installed.
        SpecError: the ModelSpec inside cannot be read.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, options: OnnxRuntimeOptions | None = None) -> None:
        options = options or OnnxRuntimeOptions()
        self._runtime = import_runtime()
        self._threads = options.threads or available_cores()
        device, providers = _providers(self._runtime, options.device)
        self._session = self._open(path, providers, options.optimize)
        if device != "cpu" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise DeviceError(
                f"{device} was asked for, but ONNX Runtime fell back to {', '.join(self._session.get_providers())}: "
                "its CUDA libraries do not load. Run p2p doctor, or take --device cpu."
            )
        metadata = self._session.get_modelmeta()
        super().__init__(self._read_spec(path, metadata), device)
        self.precision = metadata.custom_metadata_map.get(PRECISION_KEY)
        self.quality = _read_quality(metadata.custom_metadata_map.get(QUALITY_KEY, "{}"))
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def _open(self, path: Path, providers: list[Any], optimize: bool) -> Any:
        if not path.is_file():
            raise ModelFileError(f"{path} does not exist, or is not a file.")
        session_options = self._runtime.SessionOptions()
        session_options.intra_op_num_threads = self._threads
        session_options.log_severity_level = 4  # what matters is raised, and said by us
        if not optimize:
            session_options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return self._runtime.InferenceSession(str(path), session_options, providers=providers)
        except Exception as exc:  # ONNX Runtime's own exceptions share no public base class
            raise ModelFileError(f"{path} is not an ONNX file that ONNX Runtime can open: {_reason(exc)}") from exc

    def _read_spec(self, path: Path, metadata: Any) -> ModelSpec:
        if METADATA_KEY not in metadata.custom_metadata_map:
            writer = metadata.producer_name or "an unknown program"
            raise ModelFileError(
                f"{path} is an ONNX file of another program (written by {writer}): it has no {METADATA_KEY!r} in its "
                "metadata, so nothing says which pixels it wants. Export the checkpoint with: p2p export CKPT"
            )
        try:
            spec = ModelSpec.from_json(metadata.custom_metadata_map[METADATA_KEY])
        except P2PError as exc:
            raise type(exc)(f"{path}: {exc}") from exc
        self._check_signature(path, spec)
        return spec

    def _check_signature(self, path: Path, spec: ModelSpec) -> None:
        """The graph must take and give what the spec says, or slots would be bound to the wrong memory."""
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        found = [(value.type, list(value.shape)[1:]) for value in values]
        size = spec.fixed_size or ("height", "width")
        expected = [("tensor(uint8)", [*size, image.channels]) for image in (*spec.inputs, spec.output)]
        if found != expected:
            raise ModelFileError(
                f"{path}: its ModelSpec promises {expected}, the graph has {found}. The file was altered; "
                "export the checkpoint again."
            )

    def submit(self, slot: Slot) -> None:
        """Run the batch; ONNX Runtime writes straight into the slot's output."""
        binding = self._session.io_binding()
        for bind, name, rows in (
            (binding.bind_input, self._input, slot.input[: slot.count]),
            (binding.bind_output, self._output, slot.output[: slot.count]),
        ):
            bind(name, "cpu", 0, np.uint8, rows.shape, rows.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as exc:
            raise Failed(f"ONNX Runtime failed on a batch of {slot.count} on {self.device}: {_reason(exc)}") from exc

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


def _read_quality(text: str) -> dict[str, Any]:
    """Figures for people to read; what is no JSON object says nothing."""
    try:
        quality = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return quality if isinstance(quality, dict) else {}


def _providers(runtime: Any, device: str) -> tuple[str, list[Any]]:
    if device in ("auto", "cpu"):
        return "cpu", ["CPUExecutionProvider"]
    available = runtime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise DeviceError(
            f"{device} was asked for, but this ONNX Runtime has only {', '.join(available)}. Install the GPU build "
            "(pip uninstall onnxruntime; pip install 'p2p-deploy[gpu]'), or take --device cpu."
        )
    index = int(device.partition(":")[2] or 0)
    if index >= cuda.device_count():
        raise DeviceError(f"{device} was asked for, but there are {cuda.device_count()} GPUs here. Take --device cpu.")
    return device, [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _reason(exc: Exception) -> str:
    """The first line of ONNX Runtime's message without its ``[ONNXRuntimeError] : 7 : NAME :`` prefix."""
    return str(exc).partition("\n")[0].rpartition(" : ")[2].strip()
