"""The whole job: a checkpoint becomes ONNX files and a plan, each judged before it gets its name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from p2p_deploy import __version__
from p2p_deploy.backends.onnxruntime import OnnxRuntimeModel, import_runtime
from p2p_deploy.backends.tensorrt.preflight import this_platform
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import ExportError, OutputError
from p2p_deploy.exporter.candidates import Candidate, judge, take
from p2p_deploy.exporter.delivery import delivering, naming
from p2p_deploy.exporter.memory import memory_for
from p2p_deploy.exporter.onnx import add_metadata, external_data, write_onnx
from p2p_deploy.exporter.precision import Precision
from p2p_deploy.exporter.quality import Quality, compare, on_frames
from p2p_deploy.exporter.reference import Reference, make_reference
from p2p_deploy.exporter.report import ExportReport, PlanReport
from p2p_deploy.exporter.tensorrt.builder import PlanBuild, build_plan
from p2p_deploy.exporter.tensorrt.config import check_options
from p2p_deploy.exporter.tensorrt.flavours import Flavour, find_flavour
from p2p_deploy.exporter.tensorrt.layers import require_half
from p2p_deploy.exporter.tensorrt.progress import OnProgress
from p2p_deploy.files import refuse_existing, sha256
from p2p_deploy.options import BuildOptions, ExportOptions
from p2p_deploy.spec import QUALITY_KEY, ModelSpec
from p2p_deploy.spec.sidecar import PlanSidecar, Profile, sidecar_path

# A dynamic plan is tuned for the training size and takes up to this times it.
DYNAMIC_FACTOR = 2
# What to do about an ONNX file that differs; by whether it is exact.
_NEXT = {
    True: "Judge it on images such as it was trained on, with `check=FOLDER`. If it differs there too, torch and ONNX "
    "Runtime disagree about the network: update both.",
    False: "Try `precision=auto`, which finds a precision that does.",
}


def export(
    checkpoint: str | Path,
    output: str | Path | None = None,
    options: ExportOptions = ExportOptions(),
    *,
    on_step: Callable[[str], None] = lambda step: None,
    on_build: OnProgress = lambda phase, done, total: None,
) -> ExportReport:
    """Export a checkpoint to ONNX and, if asked, to a TensorRT plan.

    Every file is made under its own name in a temporary folder beside the output, compared with the checkpoint, and
    only then moved to its place.

        >>> import p2p_deploy
        >>> report = p2p_deploy.export("facades.pt", "facades.onnx")
        >>> report.quality.max_levels <= 1  # grey levels from the checkpoint
        True

    Args:
        checkpoint: a checkpoint file.
        output: the ONNX file to write, ``STEM.onnx``; an existing folder, or None for this one. With a plan in half,
            ``STEM.fp16.onnx`` (or bf16), ``STEM.plan`` and ``STEM.plan.json`` are written beside it.
        options: what to export; FP32 ONNX at the training size by default.
        on_step: called with the name of each step as it starts.
        on_build: called while a plan is built, with the builder's phase and how many of its steps are done.

    Raises:
        CheckpointError, SpecError: the checkpoint cannot be used, or not at this size.
        MissingDependency, DeviceError: what is needed is not here.
        ExportError: an artefact could not be made or differs from the checkpoint; nothing is left under its name.
        Failed: there is not enough memory for images of this size.
        InputError: the images to check with cannot be used.
        OutputError: the files exist, or cannot be written, or one would replace the checkpoint.
    """
    source = Path(checkpoint)
    output = _onnx_path(source, output)
    if not options.trt and (given := options.given_for_a_plan()):
        concern, them = ("concerns", "it") if len(given) == 1 else ("concern", "them")
        named = ", ".join(f"`{name}`" for name in given)
        raise ExportError(f"{named} only {concern} a plan, and none is built: add `trt=True` or leave {them} out.")
    _refuse_source(source, _possible(output, options))
    refuse_existing(_possible(output, options), options.overwrite)
    flavour = find_flavour(options.flavour) if options.trt else None
    if flavour:
        check_options(options.build, flavour)
    import_runtime()
    on_step("reading the checkpoint")
    loaded = load_checkpoint(source, options.assume)
    spec = _artefact_spec(loaded.spec, source, options)
    with memory_for(spec):
        on_step("running the checkpoint on the images to check with")
        reference = make_reference(loaded.generator, spec, options.check)
        choice = options.precision or ("fp16" if options.trt else "fp32")
        # ONNX Runtime has no bf16 convolutions on the CPU, TensorRT for RTX no transposed ones.
        bf16 = flavour is not None and flavour.name == "tensorrt"
        tried = judge(reference, choice, min_psnr=options.min_psnr, bf16=bf16)
        taken = take(tried)
        with delivering(output) as folder:
            work = _Work(folder, output, spec, reference, taken, options, on_step)
            first = work.write(output.name, Candidate.exact() if options.trt else taken)
            plan = work.plan(flavour, first, on_build) if flavour else None
    return ExportReport(
        onnx=output,
        spec=spec,
        precision="fp32" if options.trt else taken.precision,
        quality=first,
        family=loaded.family,
        inferred=loaded.inferred,
        assumed=loaded.assumed,
        other_statistics=reference.other_statistics,
        tried=tuple(tried),
        plan=plan and plan.moved_to(output.parent),
    )


def _onnx_path(checkpoint: Path, output: str | Path | None) -> Path:
    """Raises OutputError for what is neither an existing folder nor a name ending in ``.onnx``."""
    output = Path(output or "")
    if output.is_dir():
        return output / f"{checkpoint.stem}.onnx"
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"{output} is neither an existing folder nor a file name ending in .onnx.")
    return output


def _possible(output: Path, options: ExportOptions) -> list[Path]:
    """Every file that may be written."""
    graphs, plans = [output], []
    if options.trt:
        graphs += [output.with_suffix(f".{precision}.onnx") for precision in ("fp16", "bf16")]
        plan = output.with_suffix(".plan")
        plans = [plan, sidecar_path(plan)]
    return [*graphs, *(external_data(graph) for graph in graphs), *plans]


def _refuse_source(source: Path, outputs: list[Path]) -> None:
    """Raise OutputError when one of ``outputs`` is the checkpoint itself, which ``overwrite`` would replace."""
    for output in outputs:
        if os.path.realpath(output) == os.path.realpath(source):
            raise OutputError(f"{output} would replace the checkpoint it is made from. Name another file.")


def _artefact_spec(spec: ModelSpec, source: Path, options: ExportOptions) -> ModelSpec:
    if len(options.sizes) > 1 and not options.dynamic:
        raise ExportError(f"{len(options.sizes)} sizes were asked for; a file has one, or any with `dynamic=True`.")
    for size in options.sizes:
        spec.check_size(*size)
    if spec.fixed_size and (options.dynamic or {*options.sizes} - {spec.fixed_size}):
        height, width = spec.fixed_size
        raise ExportError(
            f"{source} has the size {height}x{width} in its weights, and takes no other. Leave out `sizes`, `dynamic`."
        )
    size = (*options.sizes, spec.working_size)[0]
    return spec.with_io(options.io).with_changes(
        fixed_size=None if options.dynamic else size,
        train_size=size if options.dynamic else spec.train_size,  # what it is judged at, and runs fit frames to
        norm_stats=options.norm_stats,
        source_sha256=sha256(source),
        created_with=f"p2p-deploy {__version__}",
    )


@dataclass(frozen=True)
class _Work:
    """Files under way, in a folder where each has its final name."""

    folder: Path
    output: Path
    spec: ModelSpec
    reference: Reference
    taken: Candidate
    options: ExportOptions
    on_step: Callable[[str], None]

    def write(self, name: str, candidate: Candidate) -> Quality:
        """Write an ONNX file, run it where this machine can, and put into it how it compares.

        Raises:
            ExportError: it differs by more than its precision explains.
        """
        self.on_step(f"writing and comparing {name}")
        path = self.folder / name
        with naming(path):
            write_onnx(self.reference.generator, self.spec, path, candidate.precision, candidate.fp32_layers)
        exact = candidate.precision == "fp32"
        quality = candidate.quality
        if candidate.precision != "bf16":  # which ONNX Runtime does not compute on the CPU
            with OnnxRuntimeModel(path) as backend:
                found = compare(self.reference.outputs, on_frames(backend), self.reference.inputs)
            failure = found.failure(exact=exact, min_psnr=self.options.min_psnr)
            if failure:
                raise ExportError(
                    f"{name} does not give the checkpoint's pictures: {failure}. Nothing was written. {_NEXT[exact]}"
                )
            quality = quality or found
        assert quality is not None
        with naming(path):
            add_metadata(path, {QUALITY_KEY: json.dumps(self._figures(quality, executed=exact), sort_keys=True)})
        return quality

    def plan(self, flavour: Flavour, fp32: Quality, on_build: OnProgress) -> PlanReport:
        """The ONNX file in the plan's precision, the plan, its sidecar; ``fp32`` is the quality of ``STEM.onnx``."""
        precision: Precision = self.taken.precision
        source = self.output.name if precision == "fp32" else self.output.with_suffix(f".{precision}.onnx").name
        exact = precision == "fp32"
        quality = fp32 if exact else self.write(source, self.taken)
        self.on_step(f"building the plan ({flavour.name} {flavour.version})")
        plan = self.folder / self.output.with_suffix(".plan").name
        build = replace(self.options.build, profiles=self.profiles())
        built = self._build(self.folder / source, plan, build, flavour, on_build)
        if not exact and not self.options.force:
            require_half(built.precision)
        PlanSidecar(
            spec=self.spec,
            plan_sha256=sha256(plan),
            plan_bytes=plan.stat().st_size,
            flavour=flavour.name,
            flavour_version=flavour.version,
            platform=this_platform(),
            gpu=built.gpu,
            compute_capabilities=built.compute_capabilities,
            profiles=built.profiles,
            version_compatible=build.version_compatible,
            hardware_compatible=build.hardware_compatible,
            targets=build.targets,
            precision={"asked": precision, **built.precision.to_dict()},
            source_onnx=source,
            source_onnx_sha256=sha256(self.folder / source),
            quality=self._figures(quality, executed=exact),
        ).save(plan)
        return PlanReport(
            onnx=self.folder / source,
            plan=plan,
            sidecar=sidecar_path(plan),
            quality=quality,
            precision=built.precision,
            flavour=f"{flavour.name} {flavour.version}",
            warnings=built.warnings,
            seconds=built.seconds,
        )

    def _build(
        self, source: Path, plan: Path, build: BuildOptions, flavour: Flavour, on_build: OnProgress
    ) -> PlanBuild:
        try:
            return build_plan(source, plan, build, flavour, on_build)
        except ExportError as exc:
            transposed = any(isinstance(module, nn.ConvTranspose2d) for module in self.reference.generator.modules())
            if flavour.name != "rtx" or self.taken.precision != "bf16" or not transposed:
                raise
            # What the builder says of it is the name of a function inside it.
            raise ExportError(
                f"{flavour} did not build a plan in bf16, in which it has no transposed convolutions, and this network "
                "has some. Nothing was written. Take `precision=fp16` or auto."
            ) from exc

    def profiles(self) -> tuple[Profile, ...]:
        """Each batch range at each size."""
        spec, sizes = self.spec, self.options.sizes
        if spec.fixed_size:
            ranges = [tuple((side, side, side) for side in spec.fixed_size)]
        elif sizes:
            ranges = [tuple((spec.min_size, side, side) for side in size) for size in sizes]
        else:
            ranges = [tuple((spec.min_size, side, DYNAMIC_FACTOR * side) for side in spec.train_size)]
        return tuple(Profile(batch, *sides) for sides in ranges for batch in self.options.batches)

    def _figures(self, quality: Quality, *, executed: bool) -> dict[str, object]:
        """What goes into metadata and sidecar."""
        other = self.reference.other_statistics
        return {
            **quality.to_dict(),
            "judged_by": "ONNX Runtime" if executed else "emulation",
            "other_norm_statistics": None if other is None else round(other, 2),
        }
