"""What can be asked of a builder, and what each flavour of TensorRT does not do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.tensorrt.flavours import Flavour
from p2p_deploy.spec.sidecar import Profile

HardwareCompatible = Literal["none", "ampere-plus", "same-cc"]
MAX_OPTIMIZATION_LEVEL = 5  # the builder takes more for this
MAX_WORKSPACE_GIB = 4096  # more than any GPU has, and less than the builder's integer holds
_NO_TARGETS = ("NONE", "CURRENT")


@dataclass(frozen=True)
class BuildOptions:
    """What to build.

    Attributes:
        profiles: the shapes the plan allows, at least one; a dimension that the graph fixes is the graph's in all.
        targets: with TensorRT for RTX, the GPUs to build for, such as ``sm89``; none means the builder's default.
        workspace_gib: most GPU memory a layer may work in, in GiB; None means what the builder chooses.
        optimization_level: 0, quick to build, to 5, quick to run; None means the builder's default.
        timing_cache: with ``tensorrt``, the file to keep kernel timings in; None means one in the user's cache folder.
        version_compatible: build a plan that later versions can run too.
        hardware_compatible: with ``tensorrt``, the other GPUs the plan is to run on: those from Ampere on, or those of
            the same compute capability.
        device: with ``tensorrt``, index of the GPU to build on.
    """

    profiles: tuple[Profile, ...] = ()
    targets: tuple[str, ...] = ()
    workspace_gib: float | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: HardwareCompatible = "none"
    device: int = 0


def check_options(options: BuildOptions, flavour: Flavour) -> None:
    """Refuse, before any work, what cannot be built.

    Raises:
        ExportError: one sentence: an option the flavour does not have, or a value that means nothing.
    """
    refused = {"tensorrt": _not_tensorrt, "rtx": _not_rtx}[flavour.name](options)
    level, gib, compatible = options.optimization_level, options.workspace_gib, options.hardware_compatible
    if refused:
        raise ExportError(f"{flavour} {refused}")
    if level is not None and not 0 <= level <= MAX_OPTIMIZATION_LEVEL:
        raise ExportError(f"The optimization level is {level}; expected 0 to {MAX_OPTIMIZATION_LEVEL}.")
    if gib is not None and not 0 < gib <= MAX_WORKSPACE_GIB:
        raise ExportError(f"The workspace is {gib} GiB; expected more than 0 and at most {MAX_WORKSPACE_GIB}.")
    if compatible not in get_args(HardwareCompatible):
        expected = ", ".join(get_args(HardwareCompatible))
        raise ExportError(f"The hardware compatibility is {compatible!r}; expected one of {expected}.")
    for profile in options.profiles:
        for name, values in profile.to_dict().items():
            if values[0] < 1 or sorted(values) != values:
                raise ExportError(f"The {name} of a profile is {values}; expected 1 <= min <= opt <= max.")
    target_capabilities(options.targets, flavour)


def _not_tensorrt(options: BuildOptions) -> str | None:
    if options.targets:
        return (
            f"builds for the GPU it runs on and takes no targets (received {', '.join(options.targets)}). Leave out "
            "--targets, or build with --trt-flavour rtx."
        )
    return None


def _not_rtx(options: BuildOptions) -> str | None:
    if options.timing_cache is not None:
        return (
            f"times no kernels, so it has no timing cache (received {options.timing_cache}). Leave out --timing-cache."
        )
    if options.hardware_compatible != "none":
        return (
            f"has no hardware compatibility levels (received {options.hardware_compatible}): name the GPUs to build "
            "for with --targets, or build with --trt-flavour tensorrt."
        )
    return None


def known_targets(flavour: Flavour) -> dict[str, Any]:
    """``{"sm89": ComputeCapability.SM89}`` and the like: every target the installed builder has."""
    trt = flavour.module
    members = trt.ComputeCapability.__members__.items()
    return {name.lower(): value for name, value in members if name not in _NO_TARGETS}


def target_capabilities(targets: tuple[str, ...], flavour: Flavour) -> dict[str, Any]:
    """``{"8.9": ComputeCapability.SM89}`` for ``("sm89",)``.

    Raises:
        ExportError: the installed builder has no such target.
    """
    if not targets:
        return {}
    known = known_targets(flavour)
    unknown = [target for target in targets if target.lower() not in known]
    if unknown:
        raise ExportError(f"{flavour} cannot build for {', '.join(unknown)}; it has the targets {', '.join(known)}.")
    digits = {target: target.lower().removeprefix("sm") for target in targets}
    return {f"{digits[target][:-1]}.{digits[target][-1]}": known[target.lower()] for target in targets}


def configure(config: Any, options: BuildOptions, flavour: Flavour) -> list[str]:
    """Set what was asked for, but for profiles and timing cache.

    Returns:
        Warnings: what an option does not mean.
    """
    trt, warnings = flavour.module, []
    if hasattr(trt.BuilderFlag, "TF32"):
        # On by default, it rounds what enters a float32 convolution to 10 bits: no more than half has.
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_gib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options.workspace_gib * 2**30))
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.hardware_compatible != "none":
        levels = {
            "ampere-plus": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
            "same-cc": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
        }
        config.hardware_compatibility_level = levels[options.hardware_compatible]
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if flavour.name == "rtx":
            # It ships no lean runtime to put into the plan, and fails looking for one.
            config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
            warnings.append(
                "TensorRT for RTX was told to make the plan version compatible, but its documentation says that a plan "
                "runs only under the release that built it."
            )
    capabilities = list(target_capabilities(options.targets, flavour).values())
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        if not config.set_compute_capability(capability, index):
            raise ExportError(f"{flavour} refuses the target {capability.name.lower()}. Leave it out of --targets.")
    return warnings
