"""Whether a plan can run here, found out before anything of a TensorRT runtime exists.

TensorRT's own answers to a plan that does not fit are a log line and ``None``, or the end of the process. Everything
here needs the plan, its sidecar, the NVIDIA driver and the version of an imported module, and says one thing at a time.
"""

from __future__ import annotations

import hashlib
import importlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p_deploy.backends import cuda
from p2p_deploy.errors import DeviceError, MissingDependency, ModelFileError, StalePlan
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec.sidecar import PlanSidecar, read_sidecar

METADATA_BYTES = 1 << 20
# Import names of each flavour's runtime, and the extra that installs it.
RUNTIMES = {
    "tensorrt": (("tensorrt",), "trt"),
    "rtx": (("tensorrt_rtx", "tensorrt_rtx_bindings"), "trt-rtx"),
}
# The small runtimes that run version-compatible plans of the flavour ``tensorrt``, and nothing else.
LEAN_RUNTIMES = ("tensorrt_lean", "tensorrt_lean_bindings")
TITLES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
_SAME_MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class CheckedPlan:
    """A plan that nothing speaks against.

    Attributes:
        path: the plan file.
        data: its bytes, those whose SHA-256 was compared.
        sidecar: what lies beside it.
        trt: the imported module of its flavour; nothing of it has been used.
        device: index of the GPU.
    """

    path: Path
    data: bytes
    sidecar: PlanSidecar
    trt: Any
    device: int


def check_plan(path: Path, options: LoadOptions) -> CheckedPlan:
    """Compare a plan's sidecar with this machine.

    Raises:
        ModelFileError: the sidecar is missing or broken, or the plan has code in it and is not trusted.
        StalePlan: another TensorRT, system or GPU is needed, or the plan is not the one the sidecar describes.
        DeviceError: there is no such GPU, or the CPU was asked for.
        MissingDependency: the flavour of TensorRT it was built with is not installed.
    """
    sidecar = read_sidecar(path)
    device = _device(path, sidecar, options.device)
    trt = _import_flavour(path, sidecar)
    _check_version(path, sidecar, trt.__version__)
    _check_platform(path, sidecar)
    _check_capability(path, sidecar, device)
    require_trust(path, sidecar, options.trust_plan)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sidecar.plan_sha256:
        raise StalePlan(
            f"{path} is not the plan its sidecar describes: the SHA-256 differs. Copy both again. "
            f"{rebuild(path, sidecar)}"
        )
    return CheckedPlan(path, data, sidecar, trt, device)


def require_trust(path: Path, sidecar: PlanSidecar, trust_plan: bool) -> None:
    """Raise ModelFileError when the plan carries code for the CPU and is not trusted."""
    if sidecar.carries_code and not trust_plan:
        raise ModelFileError(
            f"{path} is version-compatible, so it carries code that would run on this computer as a program does, and "
            "trusting it was not asked for. If you know where it comes from, say `trust_plan=True`. "
            f"{run_instead(path, sidecar)}"
        )


def device_index(device: str) -> int:
    """Index of the GPU that ``auto``, ``cuda`` or ``cuda:N`` names, which need not be there."""
    return int(device.partition(":")[2] or 0)


def _device(path: Path, sidecar: PlanSidecar, device: str) -> int:
    """Index of the GPU that ``device`` names."""
    if device == "cpu":
        raise DeviceError(
            f"{path} is a TensorRT plan and runs on NVIDIA GPUs only, not on the CPU. {run_instead(path, sidecar)}"
        )
    count = cuda.device_count()
    if count == 0:
        raise DeviceError(
            f"{path} is a TensorRT plan and needs an NVIDIA GPU; none is visible here. {run_instead(path, sidecar)}"
        )
    index = device_index(device)
    if index >= count:
        names = ", ".join(f"cuda:{number}" for number in range(count))
        raise DeviceError(f"{device} was asked for, but the GPUs here are {names}. Take one of them.")
    return index


def import_first(modules: tuple[str, ...]) -> Any:
    """The first of ``modules`` that can be imported, or None."""
    for module in modules:
        try:
            return importlib.import_module(module)
        except (ImportError, OSError):  # OSError: the bindings are there, the libraries are not
            continue
    return None


def _import_flavour(path: Path, sidecar: PlanSidecar) -> Any:
    """The module that runs a plan; importing it creates no runtime."""
    modules, extra = RUNTIMES[sidecar.flavour]
    if sidecar.flavour == "tensorrt" and sidecar.version_compatible:
        modules = (*modules, *LEAN_RUNTIMES)
    found = import_first(modules)
    if found is not None:
        return found
    raise MissingDependency(
        f"{path} was built for the {sidecar.flavour} flavour of TensorRT, which is not installed here. Install it "
        f"with: pip install 'p2p-deploy[{extra}]'. {run_instead(path, sidecar)}"
    )


def _check_version(path: Path, sidecar: PlanSidecar, installed: str) -> None:
    """A plan runs under the version that built it; a version-compatible one under later ones of the same major too.

    TensorRT for RTX has no such mode: its documentation wants the engine built again for every release.
    """
    built, here = (tuple(map(int, re.findall(r"\d+", version))) for version in (sidecar.flavour_version, installed))
    wanted = f"exactly {sidecar.flavour_version}"
    fits = built == here
    if sidecar.version_compatible and sidecar.flavour == "tensorrt":
        wanted = f"{sidecar.flavour_version} or a later {built[0] if built else '?'}.x"
        fits = built[:1] == here[:1] and here >= built
    if not fits:
        raise StalePlan(
            f"{path} needs {TITLES[sidecar.flavour]} {wanted}; installed here is {installed}. {rebuild(path, sidecar)}"
        )


def this_platform() -> str:
    """Operating system and machine, e.g. ``linux-x86_64``."""
    return _normalised(f"{platform.system()}-{platform.machine()}")


def _normalised(name: str) -> str:
    system, _, machine = name.lower().partition("-")
    return f"{system}-{_SAME_MACHINE.get(machine, machine)}"


def _check_platform(path: Path, sidecar: PlanSidecar) -> None:
    """TensorRT's plans are tied to the operating system; those of TensorRT for RTX only to the machine."""
    built, here = _normalised(sidecar.platform), this_platform()
    if sidecar.flavour == "rtx":
        built, here = (name.partition("-")[2] for name in (built, here))
    if built != here:
        raise StalePlan(f"{path} was built on {sidecar.platform}; this is {this_platform()}. {rebuild(path, sidecar)}")


def _check_capability(path: Path, sidecar: PlanSidecar, device: int) -> None:
    built = sidecar.compute_capabilities
    here = cuda.compute_capability(device)
    # Without targets, RTX builds for Ampere and what came later, and has the last word when the plan is opened.
    default_targets = sidecar.flavour == "rtx" and not sidecar.targets
    if default_targets or sidecar.hardware_compatible == "ampere-plus":
        wanted, fits = "8.0 or higher", int(here.partition(".")[0]) >= 8
    else:
        wanted, fits = " or ".join(built), here in built
    if not fits:
        raise StalePlan(
            f"{path} was built for compute capability {wanted}; cuda:{device} is {cuda.device_name(device)}. "
            f"{rebuild(path, sidecar)}"
        )


def is_there(path: Path) -> bool:
    """Whether this is a file; a name that is too long for this disk, which a sidecar may have, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def rebuild(plan: Path, sidecar: PlanSidecar) -> str:
    """The sentence that names the command which builds the plan again here."""
    source = plan.with_name(sidecar.source_onnx)
    if is_there(source):
        return f"Build it again for this machine from {source.name} beside it: {_use(plan, sidecar)} `rebuild=True`"
    return (
        f"Copy {source.name}, from which it was built, beside it, then build it again for this machine: "
        f"{_use(plan, sidecar)} `rebuild=True`"
    )


def _use(model: Path, sidecar: PlanSidecar) -> str:
    """The command that makes use of a model of this kind."""
    return f"p2p sample {model} OUT" if sidecar.spec.input.is_vector else f"p2p run {model} IN OUT"


def _names_checkpoint(onnx: Path, source_sha256: str | None) -> bool:
    """Whether an ONNX file's metadata, which is its last part, has the hash of this checkpoint."""
    try:
        with onnx.open("rb") as file:
            file.seek(max(0, onnx.stat().st_size - METADATA_BYTES))
            return source_sha256 is not None and source_sha256.encode() in file.read()
    except OSError:  # one that cannot be read is not offered
        return False


def run_instead(plan: Path, sidecar: PlanSidecar) -> str:
    """The sentence that names an ONNX file of the same checkpoint beside the plan, if there is one."""
    for name in (f"{plan.stem}.onnx", sidecar.source_onnx):
        candidate = plan.with_name(name)
        if is_there(candidate) and _names_checkpoint(candidate, sidecar.spec.source_sha256):
            return f"{candidate} beside it is the same network for ONNX Runtime: {_use(candidate, sidecar)}"
    return "Its ONNX file, which ONNX Runtime runs anywhere, is not beside it; p2p export CKPT writes it."
