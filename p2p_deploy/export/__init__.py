"""From a checkpoint to artefacts that were compared with it before they got their names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from p2p_deploy import __version__
from p2p_deploy.backends.onnxruntime import OnnxRuntimeBackend, import_runtime
from p2p_deploy.checkpoints import Checkpoint, load_checkpoint
from p2p_deploy.errors import ExportError, OutputError
from p2p_deploy.export.engine import (
    Flavour,
    FlavourChoice,
    PrecisionReport,
    Profile,
    build_plan,
    build_platform,
    find_flavour,
    require_half,
)
from p2p_deploy.export.onnx import Precision, write_onnx
from p2p_deploy.export.verify import (
    FLAT_LEVELS,
    FP16_MIN_PSNR_DB,
    FP32_MAX_LEVELS,
    Comparison,
    check_photos,
    compare,
)
from p2p_deploy.files import refuse_existing, sha256
from p2p_deploy.frame_model import FrameModel, to_frames
from p2p_deploy.pixels import Pixels
from p2p_deploy.sidecar import PlanSidecar, sidecar_path
from p2p_deploy.spec import ModelSpec

DEFAULT_PROFILE: Profile = (1, 4, 16)

__all__ = ["DEFAULT_PROFILE", "ExportReport", "PlanReport", "export_checkpoint"]


@dataclass(frozen=True)
class PlanReport:
    """What ``--trt`` made.

    Attributes:
        onnx: the FP16 ONNX file the plan was built from.
        plan: the plan.
        sidecar: its sidecar.
        comparison: the FP16 ONNX file against the checkpoint, by ONNX Runtime on the CPU. That runtime computes half
            graphs in float32, so this shows what rounding the weights does, not what half arithmetic does.
        precision: read from the network the builder parsed.
        flavour: which TensorRT, with its version.
        warnings: what the builder remarked.
    """

    onnx: Path
    plan: Path
    sidecar: Path
    comparison: Comparison
    precision: PrecisionReport
    flavour: str
    warnings: tuple[str, ...]

    def moved_to(self, folder: Path) -> PlanReport:
        """The same report with its files in ``folder``."""
        return replace(
            self,
            onnx=folder / self.onnx.name,
            plan=folder / self.plan.name,
            sidecar=folder / self.sidecar.name,
        )


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Attributes:
        onnx: the FP32 ONNX file.
        spec: the ModelSpec inside it.
        comparison: the ONNX file, run by ONNX Runtime, against the checkpoint, run by PyTorch.
        plan: what ``trt=True`` added.
    """

    onnx: Path
    spec: ModelSpec
    comparison: Comparison
    plan: PlanReport | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the comparison worth less than it looks."""
        if self.comparison.reference_std >= FLAT_LEVELS:
            return ()
        return (
            f"the checkpoint gives almost one colour on every photograph (standard deviation "
            f"{self.comparison.reference_std:.2f} grey levels), so the comparison says little. Has it been trained?",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        report: dict[str, Any] = {
            "onnx": str(self.onnx),
            "spec": self.spec.to_dict(),
            "comparison": self.comparison.to_dict(),
            "warnings": list(self.warnings),
        }
        if self.plan:
            report["plan"] = {
                "onnx": str(self.plan.onnx),
                "plan": str(self.plan.plan),
                "sidecar": str(self.plan.sidecar),
                "comparison": self.plan.comparison.to_dict(),
                "precision": self.plan.precision.to_dict(),
                "flavour": self.plan.flavour,
                "warnings": list(self.plan.warnings),
                "executed": False,
            }
        return report


def export_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    *,
    size: tuple[int, int] | None = None,
    trt: bool = False,
    flavour: FlavourChoice = "auto",
    profile: Profile = DEFAULT_PROFILE,
    overwrite: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> ExportReport:
    """Export a checkpoint to ONNX and, with ``trt``, to a TensorRT plan.

    Every file is made under a temporary name in the output's folder, compared with the checkpoint on the photographs
    that ship with the package, and only then given its name.

    Args:
        checkpoint: a checkpoint file.
        output: the ONNX file to write, ``STEM.onnx``; with ``trt``, ``STEM.fp16.onnx``, ``STEM.plan`` and
            ``STEM.plan.json`` are written beside it.
        size: (height, width) in pixels the artefacts take; default the training size.
        trt: also build a plan.
        flavour: which TensorRT builds it.
        profile: (min, opt, max) batch sizes of the plan.
        overwrite: replace existing files.
        on_step: called with the name of each step as it starts.

    Raises:
        CheckpointError, SpecError: the checkpoint cannot be used, or not at this size.
        MissingDependency, DeviceError: what is needed is not here.
        ExportError: an artefact could not be made or differs from the checkpoint; nothing is left under its name.
        OutputError: the files exist, or cannot be written.
    """
    source, output = Path(checkpoint), Path(output)
    targets = _targets(output, trt)
    refuse_existing(list(targets.values()), overwrite)
    builder = find_flavour(flavour) if trt else None
    import_runtime()
    on_step("reading the checkpoint")
    loaded = load_checkpoint(source)
    spec = loaded.spec.with_changes(
        fixed_size=size or loaded.spec.working_size,
        source_sha256=sha256(source),
        created_with=f"p2p-deploy {__version__}",
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".p2p-export-", dir=output.parent) as folder:
            work = {kind: Path(folder) / path.name for kind, path in targets.items()}
            on_step("writing and comparing the FP32 ONNX file")
            comparison = _make_onnx(loaded, spec, work["onnx"], "fp32")
            plan = _make_plan(loaded, spec, work, profile, builder, on_step) if builder else None
            for kind, path in targets.items():
                work[kind].replace(path)
    except OSError as exc:
        place = output.with_name(Path(exc.filename).name) if exc.filename else output
        raise OutputError(f"{place} cannot be written: {exc.strerror or exc}. Nothing was written.") from exc
    return ExportReport(output, spec, comparison, plan and plan.moved_to(output.parent))


def _targets(output: Path, trt: bool) -> dict[str, Path]:
    targets = {"onnx": output}
    if trt:
        plan = output.with_suffix(".plan")
        targets |= {"fp16": output.with_suffix(".fp16.onnx"), "plan": plan, "sidecar": sidecar_path(plan)}
    return targets


def _make_plan(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    work: dict[str, Path],
    profile: Profile,
    flavour: Flavour,
    on_step: Callable[[str], None],
) -> PlanReport:
    """The FP16 ONNX file, the plan and its sidecar, under the names in ``work``."""
    on_step("writing and comparing the FP16 ONNX file")
    comparison = _make_onnx(checkpoint, spec, work["fp16"], "fp16")
    on_step(f"building the plan ({flavour.name} {flavour.version})")
    built = build_plan(work["fp16"], work["plan"], profile, flavour)
    require_half(built.precision)
    PlanSidecar(
        spec=spec,
        plan_sha256=sha256(work["plan"]),
        plan_bytes=work["plan"].stat().st_size,
        flavour=flavour.name,
        flavour_version=flavour.version,
        platform=build_platform(),
        gpu=built.gpu,
        profile=profile,
        precision=built.precision.to_dict(),
        source_onnx=work["fp16"].name,
        source_onnx_sha256=sha256(work["fp16"]),
        quality=comparison.to_dict(),
    ).save(work["plan"])
    return PlanReport(
        onnx=work["fp16"],
        plan=work["plan"],
        sidecar=work["sidecar"],
        comparison=comparison,
        precision=built.precision,
        flavour=f"{flavour.name} {flavour.version}",
        warnings=built.warnings,
    )


def _make_onnx(checkpoint: Checkpoint, spec: ModelSpec, path: Path, precision: Precision) -> Comparison:
    """Write an ONNX file and hold it against the checkpoint.

    Raises:
        ExportError: it differs by more than its precision explains.
    """
    write_onnx(checkpoint.generator, spec, path, precision)
    reference = FrameModel(checkpoint.generator, spec)

    @torch.inference_mode()
    def run_checkpoint(frames_NHWC: Pixels) -> Pixels:
        levels = reference.levels(torch.from_numpy(frames_NHWC))
        broken = int((~torch.isfinite(levels)).sum())
        if broken:
            raise ExportError(
                f"The checkpoint itself gives {broken} values that are NaN or infinite on a photograph, so there is "
                "nothing to export. Train it again, or take an earlier checkpoint."
            )
        return to_frames(levels).numpy()

    with OnnxRuntimeBackend(path) as candidate:
        comparison = compare(run_checkpoint, candidate, check_photos(spec))
    passed = {
        "fp32": comparison.max_levels <= FP32_MAX_LEVELS,
        "fp16": comparison.psnr_db >= FP16_MIN_PSNR_DB,
    }[precision]
    if not passed:
        bar = {"fp32": f"at most {FP32_MAX_LEVELS} grey level", "fp16": f"at least {FP16_MIN_PSNR_DB:.0f} dB"}[
            precision
        ]
        raise ExportError(
            f"The {precision.upper()} ONNX file does not give the checkpoint's pictures: {comparison}; expected {bar}. "
            "Nothing was written."
        )
    return comparison
