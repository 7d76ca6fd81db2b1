"""Plans without a builder: any bytes, and a sidecar that fits them and the machine that is pretended."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

from helpers.fake_gpu import FakeCuda, Gpu
from helpers.fake_tensorrt import FakeTensorRT
from helpers.support import photo_crops, unet_spec
from p2p_deploy.backends import cuda
from p2p_deploy.backends.tensorrt import model, preflight
from p2p_deploy.spec.sidecar import PlanSidecar, Profile

DATA = b"what a builder would have written" * 100
CHECKPOINT = "c0ffee" * 10 + "beef"
VERSION = "1.7.1.116"
SIZE = 64
FLAVOURS = {"rtx": ("tensorrt_rtx", VERSION), "tensorrt": ("tensorrt", "11.4.0.106")}
DESERIALIZE = 2  # which call that is, after the GPU and the runtime
pictures = functools.cache(photo_crops)  # read-only by habit


def profile(batch: tuple[int, int, int], side: tuple[int, int, int] = (SIZE, SIZE, SIZE)) -> Profile:
    return Profile(batch, side, side)


def write_plan(folder: Path, **changes) -> Path:
    """A sound plan ``small.plan`` with its sidecar and ONNX files beside it."""
    spec = unet_spec(size=SIZE).with_changes(source_sha256=CHECKPOINT)
    plan = folder / "small.plan"
    plan.write_bytes(DATA)
    for name in ("small.onnx", "small.fp16.onnx"):
        (folder / name).write_bytes(b"a graph, and its metadata " + CHECKPOINT.encode())
    values = {
        "spec": spec,
        "plan_sha256": hashlib.sha256(DATA).hexdigest(),
        "plan_bytes": len(DATA),
        "flavour": "rtx",
        "flavour_version": VERSION,
        "platform": preflight.this_platform(),
        "gpu": "NVIDIA Pretended (8.9)",
        "compute_capabilities": ("8.6", "8.9"),
        "targets": ("sm86", "sm89"),
        "profiles": (profile((1, 4, 8)),),
        "version_compatible": False,
        "hardware_compatible": "none",
        "precision": {"asked": "fp16"},
        "source_onnx": "small.fp16.onnx",
        "source_onnx_sha256": hashlib.sha256((folder / "small.fp16.onnx").read_bytes()).hexdigest(),
        "quality": {},
    }
    PlanSidecar(**{**values, **changes}).save(plan)
    return plan


def pretend_gpu(monkeypatch, *, capability: str = "8.9", count: int = 1) -> None:
    """Let the driver show GPUs; nothing else of CUDA is there."""
    monkeypatch.setattr(cuda, "device_count", lambda: count)
    monkeypatch.setattr(cuda, "compute_capability", lambda index: capability)
    monkeypatch.setattr(cuda, "device_name", lambda index: f"NVIDIA Pretended ({capability})")


def pretend_runtime(monkeypatch, gpu: Gpu, *, module: str = "tensorrt_rtx", version: str = VERSION, **engine) -> None:
    """Let CUDA and a TensorRT be there whose work is done by ``gpu``."""
    pretend_gpu(monkeypatch, count=gpu.count)
    monkeypatch.setattr(model, "import_cuda", lambda: FakeCuda(gpu))
    monkeypatch.setitem(sys.modules, module, FakeTensorRT(gpu, version, **engine))


def submit(model, slot, frames):
    """Start a batch of these frames."""
    slot.input[: len(frames)] = frames
    slot.count = len(frames)
    model.submit(slot)
