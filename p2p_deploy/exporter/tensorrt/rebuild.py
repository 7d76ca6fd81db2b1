"""A plan built again from the ONNX file beside it, on the machine it is to run on; neither torch nor onnx is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from p2p_deploy.backends import cuda
from p2p_deploy.backends.tensorrt.preflight import is_there, this_platform
from p2p_deploy.errors import ModelFileError, OutputError
from p2p_deploy.exporter.tensorrt.builder import build_plan
from p2p_deploy.exporter.tensorrt.config import known_targets
from p2p_deploy.exporter.tensorrt.flavours import Flavour, find_flavour
from p2p_deploy.exporter.tensorrt.layers import MIN_HALF_SHARE, require_half
from p2p_deploy.files import sha256
from p2p_deploy.options.export import BuildOptions, FlavourChoice, HardwareCompatible
from p2p_deploy.spec.sidecar import PlanSidecar, read_sidecar, sidecar_path


def rebuild_plan(plan: Path, on_step: Callable[[str], None] = lambda step: None, device: int = 0) -> PlanSidecar:
    """Build a plan anew with the profiles and for the hardware its sidecar names; replaces plan and sidecar.

    Args:
        plan: the plan file.
        on_step: called with what is done next.
        device: index of the GPU that the new plan is to run on.

    Returns:
        The new sidecar.

    Raises:
        ModelFileError: the sidecar cannot be read, or the ONNX file is missing or altered.
        MissingDependency, DeviceError: the flavour of TensorRT is not installed, or cannot build here.
        ExportError: the builder refuses, or the result is not in the precision the old plan had.
        OutputError: the files cannot be replaced.
    """
    old = read_sidecar(plan)
    source = plan.with_name(old.source_onnx)
    if not is_there(source):
        raise ModelFileError(f"{plan} cannot be built again: {source.name}, which it was built from, is not beside it.")
    if sha256(source) != old.source_onnx_sha256:
        raise ModelFileError(
            f"{plan} cannot be built again: {source} is not the file it was built from (the SHA-256 differs). Export "
            "the checkpoint again."
        )
    flavour = find_flavour(cast(FlavourChoice, old.flavour))
    on_step(f"building {plan.name} ({flavour.name} {flavour.version})")
    options = BuildOptions(
        profiles=old.profiles,
        targets=_targets(old, flavour, device),
        version_compatible=old.version_compatible,
        hardware_compatible=cast(HardwareCompatible, old.hardware_compatible),
        device=device,
    )
    try:
        with tempfile.TemporaryDirectory(prefix=".p2p-rebuild-", dir=plan.parent) as folder:
            fresh = Path(folder) / plan.name
            built = build_plan(source, fresh, options, flavour)
            if _was_half(old):
                require_half(built.precision)
            sidecar = replace(
                old,
                plan_sha256=sha256(fresh),
                plan_bytes=fresh.stat().st_size,
                flavour_version=flavour.version,
                platform=this_platform(),
                gpu=built.gpu,
                compute_capabilities=built.compute_capabilities,
                targets=options.targets,
                precision={**built.precision.to_dict(), "asked": old.precision.get("asked")},
                executed=False,
            )
            sidecar.save(fresh)
            fresh.replace(plan)
            sidecar_path(fresh).replace(sidecar_path(plan))
    except OSError as exc:
        raise OutputError(f"{plan} cannot be replaced: {exc.strerror or exc}.") from exc
    return sidecar


def _was_half(old: PlanSidecar) -> bool:
    """Whether the old plan passed the bar for half; one that was exported with ``force`` did not have to."""
    share = old.precision.get("half_share", 1.0)
    passed = not isinstance(share, int | float) or share >= MIN_HALF_SHARE
    return old.precision.get("asked") in ("fp16", "bf16") and passed


def _targets(old: PlanSidecar, flavour: Flavour, device: int) -> tuple[str, ...]:
    """What RTX has to build for so that the plan runs on this GPU too, if it is there."""
    if old.flavour != "rtx" or device >= cuda.device_count():
        return old.targets
    major, minor = cuda.compute_capability(device).split(".")
    here = f"sm{major}{minor}"
    # The builder's default covers Ampere and what came later, also GPUs that it has no target for.
    if int(major) >= 8 and (not old.targets or here not in known_targets(flavour)):
        return ()
    return tuple(dict.fromkeys((*old.targets, here)))
