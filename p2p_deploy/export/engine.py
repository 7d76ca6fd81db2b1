"""From an ONNX file to a TensorRT plan, with ``tensorrt`` or with TensorRT for RTX: one code path, two modules.

Networks are strongly typed: what a layer computes in is written in the graph, so the precision that is reported is
read back from the parsed network. TensorRT for RTX builds ahead of time, without a GPU; ``tensorrt`` times its kernels
on one.
"""

from __future__ import annotations

import functools
import importlib
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from p2p_deploy.backends import cuda
from p2p_deploy.backends.tensorrt import RUNTIMES
from p2p_deploy.errors import DeviceError, ExportError, MissingDependency

FlavourChoice = Literal["auto", "tensorrt", "rtx"]
Profile = tuple[int, int, int]
MIN_HALF_SHARE = 0.9
# What its documentation says an ahead-of-time build is for when no targets are named.
RTX_TARGETS = "the builder's default targets: compute capability 8.0, 8.6, 8.9, 12.0 and later"


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


@dataclass(frozen=True)
class PrecisionReport:
    """What the parsed, strongly typed network computes in.

    Attributes:
        convolutions: number of convolution and deconvolution layers.
        half_convolutions: how many of them give half.
        fp32_convolutions: names of those that give float32.
        layer_outputs: number of layers by the element type of their output.
    """

    convolutions: int
    half_convolutions: int
    fp32_convolutions: tuple[str, ...]
    layer_outputs: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.half_convolutions} of {self.convolutions} convolutions in half"


@dataclass(frozen=True)
class PlanBuild:
    """A plan that was built, and what the builder said about it."""

    precision: PrecisionReport
    gpu: str
    warnings: tuple[str, ...]


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
            "TensorRT for RTX builds without one: pip install 'p2p-deploy[trt-rtx]', then --trt-flavour rtx"
        )
    install = {name: f"pip install 'p2p-deploy[{extra}]'" for name, (_, extra) in RUNTIMES.items()}
    install["auto"] = f"{install['tensorrt']}, or, without a GPU, {install['rtx']}"
    raise MissingDependency(
        f"Building a plan needs TensorRT, which cannot be imported here (flavour: {choice}). Install it with: "
        f"{install[choice]}"
    )


def _import_flavour(name: str) -> Any:
    for module in RUNTIMES[name][0]:
        try:
            return importlib.import_module(module)
        except (ImportError, OSError):  # OSError: the bindings are there, the libraries are not
            continue
    return None


def build_plan(onnx_path: Path, plan_path: Path, profile: Profile, flavour: Flavour) -> PlanBuild:
    """Build a plan and write it exactly as the builder serialised it.

    Args:
        onnx_path: a graph with the one input ``frames`` (N, H, W, C), N dynamic.
        plan_path: the file to write.
        profile: (min, opt, max) batch sizes.
        flavour: the TensorRT to use.

    Raises:
        ExportError: the parser or the builder refuses the graph; the sentence has the layer's name where they give it.
    """
    trt = flavour.module
    log = _logger(trt)
    log.messages.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx_path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(f"{error.desc()} (node {error.node_name() or 'unnamed'})" for error in errors)
        raise ExportError(f"{_title(flavour)} cannot read {onnx_path.name}: {reasons or log.worst()}")
    config = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    frames = network.get_input(0)
    shapes.set_shape(frames.name, *((batch, *frames.shape[1:]) for batch in profile))
    if config.add_optimization_profile(shapes) < 0:
        raise ExportError(f"{_title(flavour)} refuses batches of {', '.join(map(str, profile))}: {log.worst()}")
    precision = read_precision(trt, network)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"{_title(flavour)} cannot build a plan from {onnx_path.name}: {log.worst()}")
    with plan_path.open("wb") as file:
        file.write(memoryview(plan))
    gpu = RTX_TARGETS if flavour.name == "rtx" else cuda.device_name(0)
    return PlanBuild(precision, gpu, tuple(log.warnings()))


def read_precision(trt: Any, network: Any) -> PrecisionReport:
    """Read the element types off a parsed, strongly typed network."""
    outputs: Counter[str] = Counter()
    convolutions: dict[str, str] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.get_output(0).dtype.name
        outputs[kind] += 1
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
            convolutions[layer.name] = kind
    return PrecisionReport(
        convolutions=len(convolutions),
        half_convolutions=sum(kind == "HALF" for kind in convolutions.values()),
        fp32_convolutions=tuple(name for name, kind in convolutions.items() if kind == "FLOAT"),
        layer_outputs=dict(sorted(outputs.items())),
    )


def require_half(report: PrecisionReport) -> None:
    """Raise ExportError when a network that should compute in half mostly does not."""
    if report.half_convolutions < MIN_HALF_SHARE * report.convolutions:
        raise ExportError(
            f"FP16 was asked for, but only {report} (float32: {', '.join(report.fp32_convolutions[:5])}). "
            "No plan was written."
        )


def build_platform() -> str:
    """Operating system and machine, e.g. ``linux-x86_64``."""
    return f"{platform.system()}-{platform.machine()}".lower()


def _title(flavour: Flavour) -> str:
    name = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}[flavour.name]
    return f"{name} {flavour.version}"


@functools.cache
def _logger(trt: Any) -> Any:
    """The one logger of a module: TensorRT keeps the first it is given for the whole process."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[tuple[int, str]] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.WARNING:
                self.messages.append((int(severity), message.strip()))

        def warnings(self) -> list[str]:
            return list(dict.fromkeys(message for _, message in self.messages))

        def worst(self) -> str:
            return min(self.messages, default=(0, "it gave no reason"))[1]

    return Log()
