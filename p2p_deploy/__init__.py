"""p2p-deploy: train, export and run pix2pix-family image-to-image networks.

    import p2p_deploy

    with p2p_deploy.load("facades.onnx") as model:
        outputs_NHWC = model(frames_NHWC)  # uint8 in, uint8 out
        summary = p2p_deploy.run(model, "photos", "out", p2p_deploy.RunOptions(ext="jpg"))

Every function takes its options as a frozen dataclass, gives back a report that is one, and raises nothing but the
exceptions listed here. Importing this package loads no runtime: no torch, ONNX Runtime, TensorRT, OpenCV or PyAV.
"""

from __future__ import annotations

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
    from p2p_deploy.backends.base import Model as Model
    from p2p_deploy.benchmark import BenchReport as BenchReport, BenchResult as BenchResult, bench as bench
    from p2p_deploy.exporter.export import export as export
    from p2p_deploy.exporter.quality import Quality as Quality
    from p2p_deploy.exporter.report import ExportReport as ExportReport, PlanReport as PlanReport
    from p2p_deploy.exporter.verify import VerifyReport as VerifyReport, verify as verify
    from p2p_deploy.inspection import ModelFacts as ModelFacts, inspect as inspect
    from p2p_deploy.runner.models import load as load
    from p2p_deploy.runner.run import run as run
    from p2p_deploy.runner.summary import RunProgress as RunProgress, RunSummary as RunSummary
    from p2p_deploy.sampling import SampleReport as SampleReport, sample as sample

__version__ = "0.1.0"

# Where what loads a runtime is, by name; each is loaded when it is first asked for.
_LAZY = {
    "BenchReport": "benchmark",
    "BenchResult": "benchmark",
    "ExportReport": "exporter.report",
    "Model": "backends.base",
    "ModelFacts": "inspection",
    "PlanReport": "exporter.report",
    "Quality": "exporter.quality",
    "RunProgress": "runner.summary",
    "RunSummary": "runner.summary",
    "SampleReport": "sampling",
    "VerifyReport": "exporter.verify",
    "bench": "benchmark",
    "export": "exporter.export",
    "inspect": "inspection",
    "load": "runner.models",
    "run": "runner.run",
    "sample": "sampling",
    "verify": "exporter.verify",
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
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"p2p_deploy.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
