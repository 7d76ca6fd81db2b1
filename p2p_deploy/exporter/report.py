"""What an export made, as values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from p2p_deploy.exporter.candidates import Candidate
from p2p_deploy.exporter.precision import Precision
from p2p_deploy.exporter.quality import FLAT_LEVELS, Quality
from p2p_deploy.exporter.tensorrt.layers import PrecisionReport
from p2p_deploy.reports import Report
from p2p_deploy.spec import ModelSpec

# From this mean difference on, in grey levels, the two kinds of norm statistics give visibly different pictures.
VISIBLE_LEVELS = 2.0


@dataclass(frozen=True)
class PlanReport(Report):
    """The plan that an export made.

    Attributes:
        onnx: the ONNX file the plan was built from.
        plan: the plan.
        sidecar: its sidecar.
        quality: the plan's precision against the checkpoint: by emulation, or, for fp32, of the ONNX file.
        precision: read from the network the builder parsed.
        flavour: which TensorRT, with its version.
        warnings: what the builder remarked.
        seconds: how long the builder took.
    """

    onnx: Path
    plan: Path
    sidecar: Path
    quality: Quality
    precision: PrecisionReport
    flavour: str
    warnings: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values. Nothing of a plan is executed where it is built."""
        values = super().to_dict()
        del values["seconds"]
        return {**values, "executed": False}

    def moved_to(self, folder: Path) -> PlanReport:
        """The same report with its files in ``folder``."""
        return replace(self, **{name: folder / getattr(self, name).name for name in ("onnx", "plan", "sidecar")})


@dataclass(frozen=True)
class ExportReport(Report):
    """What an export made.

    Attributes:
        onnx: the ONNX file.
        spec: the ModelSpec inside it.
        precision: what it computes in.
        quality: how it compares with the checkpoint: run by ONNX Runtime for fp32, by emulation for a half precision.
        family: whose checkpoint it was, in words.
        inferred: what its keys told.
        assumed: what they did not tell, and what was taken instead.
        other_statistics: mean difference, in grey levels, to the other kind of norm statistics; None without BatchNorm.
        tried: the precisions that were judged, in order; the last was taken.
        plan: what ``trt`` added.
    """

    onnx: Path
    spec: ModelSpec
    precision: Precision
    quality: Quality
    family: str
    inferred: tuple[str, ...]
    assumed: tuple[str, ...]
    other_statistics: float | None
    tried: tuple[Candidate, ...]
    plan: PlanReport | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting it."""
        found = []
        if self.quality.reference_std < FLAT_LEVELS:
            found.append(
                "the checkpoint gives almost one colour on every image (standard deviation "
                f"{self.quality.reference_std:.2f} grey levels), so the comparison says little. Has it been trained?"
            )
        if self.other_statistics is not None and self.other_statistics >= VISIBLE_LEVELS:
            other = "instance" if self.spec.norm_stats == "running" else "running"
            found.append(
                f"`norm_stats={other}` gives visibly different pictures: {self.other_statistics:.1f} grey levels on "
                f"average. This export uses {self.spec.norm_stats} statistics."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = super().to_dict()
        plan, other = values.pop("plan"), values.pop("other_statistics")
        values |= {"spec": self.spec.to_dict(), "other_norm_statistics": other, "warnings": list(self.warnings)}
        return values | ({"plan": plan} if plan else {})
