"""TensorRT plans: recognised, checked against their sidecar, and refused in one sentence where they cannot run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from p2p_deploy.backends import cuda
from p2p_deploy.backends.base import Backend
from p2p_deploy.errors import DeviceError, MissingDependency, ModelFileError
from p2p_deploy.files import sha256
from p2p_deploy.sidecar import PlanSidecar, read_sidecar

METADATA_BYTES = 1 << 20
# Import names of each flavour's runtime, and the extra that installs it.
RUNTIMES = {
    "tensorrt": (("tensorrt",), "trt"),
    "rtx": (("tensorrt_rtx", "tensorrt_rtx_bindings"), "trt-rtx"),
}


@dataclass(frozen=True)
class TensorRTOptions:
    """How to open a plan.

    Attributes:
        device: ``auto`` means the first GPU, ``cuda:N`` that one.
    """

    device: str = "auto"


def open_plan(path: Path, options: TensorRTOptions) -> Backend:
    """Check a plan and say why it does not run; this version builds plans and does not execute them.

    Raises:
        ModelFileError: the plan or its sidecar is missing or altered; or, in this version, everything is well.
        DeviceError: there is no GPU, or the CPU was asked for.
        MissingDependency: the flavour of TensorRT it was built with is not installed.
    """
    sidecar = read_sidecar(path)
    instead = run_instead(path, sidecar)
    if options.device == "cpu":
        raise DeviceError(f"{path} is a TensorRT plan and runs on NVIDIA GPUs only, not on the CPU. {instead}")
    if cuda.device_count() == 0:
        raise DeviceError(f"{path} is a TensorRT plan and needs an NVIDIA GPU; none is visible here. {instead}")
    modules, extra = RUNTIMES.get(sidecar.flavour, ((), "trt"))
    if not any(importlib.util.find_spec(module) for module in modules):
        raise MissingDependency(
            f"{path} was built for the {sidecar.flavour} flavour of TensorRT, which is not installed here. Install it "
            f"with: pip install 'p2p-deploy[{extra}]'. {instead}"
        )
    if sha256(path) != sidecar.plan_sha256:
        raise ModelFileError(f"{path} is not the plan its sidecar describes: the SHA-256 differs. Copy both again.")
    raise ModelFileError(f"{path} is sound, but this version of p2p-deploy does not execute plans. {instead}")


def _names_checkpoint(onnx: Path, source_sha256: str | None) -> bool:
    """Whether an ONNX file's metadata, which is its last part, has the hash of this checkpoint."""
    with onnx.open("rb") as file:
        file.seek(max(0, onnx.stat().st_size - METADATA_BYTES))
        return source_sha256 is not None and source_sha256.encode() in file.read()


def run_instead(plan: Path, sidecar: PlanSidecar) -> str:
    """The sentence that names an ONNX file of the same checkpoint beside the plan, if there is one."""
    for name in (f"{plan.stem}.onnx", Path(sidecar.source_onnx).name):
        candidate = plan.with_name(name)
        if candidate.is_file() and _names_checkpoint(candidate, sidecar.spec.source_sha256):
            return f"{candidate} beside it is the same network for ONNX Runtime: p2p run {candidate} IN OUT"
    return "Its ONNX file, which ONNX Runtime runs anywhere, is not beside it; p2p export CKPT writes it."
