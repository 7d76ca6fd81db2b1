"""p2p-deploy: train, export and run pix2pix-family image-to-image networks.

    import p2p_deploy

    with p2p_deploy.load("facades.onnx") as model:
        outputs_NHWC = model(frames_NHWC)  # uint8 in, uint8 out
        summary = p2p_deploy.run(model, "photos", "out", p2p_deploy.RunOptions(ext="jpg"))

Every function takes its options as a frozen dataclass, gives back a report that is one, and raises nothing but the
exceptions listed here. Importing this package loads no runtime: no torch, ONNX Runtime, TensorRT, OpenCV or PyAV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from p2p_deploy.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    ExportError,
    Failed,
    InputError,
    ItemFailed,
    MissingDependency,
    ModelFileError,
    OptionError,
    OutOfMemory,
    OutputError,
    P2PError,
    SpecError,
    StalePlan,
)
from p2p_deploy.options import (
    Assumptions,
    BenchOptions,
    BuildOptions,
    ExportOptions,
    LoadOptions,
    RunOptions,
    SampleOptions,
    VerifyOptions,
)
from p2p_deploy.reports import Report
from p2p_deploy.spec import ImageSpec, ModelSpec

if TYPE_CHECKING:
    from p2p_deploy.backends.base import Model
    from p2p_deploy.benchmark import BenchReport, BenchResult, bench
    from p2p_deploy.exporter.export import export
    from p2p_deploy.exporter.quality import Quality
    from p2p_deploy.exporter.report import ExportReport, PlanReport
    from p2p_deploy.exporter.verify import VerifyReport, verify
    from p2p_deploy.inspection import ModelFacts, inspect
    from p2p_deploy.runner.models import load
    from p2p_deploy.runner.run import run
    from p2p_deploy.runner.summary import RunProgress, RunSummary
    from p2p_deploy.sampling import SampleReport, sample

__version__ = "0.1.0"

# What loads a runtime, by module; each of them is loaded when one of its names is first asked for.
_LAZY = {
    "backends.base": ("Model",),
    "benchmark": ("BenchReport", "BenchResult", "bench"),
    "exporter.export": ("export",),
    "exporter.quality": ("Quality",),
    "exporter.report": ("ExportReport", "PlanReport"),
    "exporter.verify": ("VerifyReport", "verify"),
    "inspection": ("ModelFacts", "inspect"),
    "runner.models": ("load",),
    "runner.run": ("run",),
    "runner.summary": ("RunProgress", "RunSummary"),
    "sampling": ("SampleReport", "sample"),
}

__all__ = [
    "Assumptions",
    "BenchOptions",
    "BenchReport",
    "BenchResult",
    "BuildOptions",
    "CheckpointError",
    "DataError",
    "DeviceError",
    "ExportError",
    "ExportOptions",
    "ExportReport",
    "Failed",
    "ImageSpec",
    "InputError",
    "ItemFailed",
    "LoadOptions",
    "MissingDependency",
    "Model",
    "ModelFacts",
    "ModelFileError",
    "ModelSpec",
    "OptionError",
    "OutOfMemory",
    "OutputError",
    "P2PError",
    "PlanReport",
    "Quality",
    "Report",
    "RunOptions",
    "RunProgress",
    "RunSummary",
    "SampleOptions",
    "SampleReport",
    "SpecError",
    "StalePlan",
    "VerifyOptions",
    "VerifyReport",
    "__version__",
    "bench",
    "export",
    "inspect",
    "load",
    "run",
    "sample",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, names in _LAZY.items():
        if name in names:
            return getattr(importlib.import_module(f"p2p_deploy.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
