"""What can be asked of a builder, and what each flavour of TensorRT does not do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.tensorrt.flavours import Flavour
from p2p_deploy.options.export import BuildOptions

_NO_TARGETS = ("NONE", "CURRENT")


def check_options(options: BuildOptions, flavour: Flavour) -> None:
    """Refuse, before any work, what cannot be built.

    Raises:
        ExportError: one sentence: an option the flavour does not have, or a value that means nothing.
    """
    refused = {"tensorrt": _not_tensorrt, "rtx": _not_rtx}[flavour.name](options)
    if refused:
        raise ExportError(f"{flavour} {refused}")
    for profile in options.profiles:
        for name, values in asdict(profile).items():
            if values[0] < 1 or sorted(values) != [*values]:
                raise ExportError(f"The {name} of a profile is {values}; expected 1 <= min <= opt <= max.")
    target_capabilities(options.targets, flavour)


def _not_tensorrt(options: BuildOptions) -> str | None:
    if options.targets:
        return (
            f"builds for the GPU it runs on and takes no targets (received {', '.join(options.targets)}). Leave out "
            "`targets`, or build with `flavour=rtx`."
        )
    return None


def _not_rtx(options: BuildOptions) -> str | None:
    if options.timing_cache is not None:
        return (
            f"times no kernels, so it has no timing cache (received {options.timing_cache}). Leave out `timing_cache`."
        )
    if options.hardware_compatible != "none":
        return (
            f"has no hardware compatibility levels (received {options.hardware_compatible}): name the GPUs to build "
            "for with `targets`, or build with `flavour=tensorrt`."
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
            raise ExportError(f"{flavour} refuses the target {capability.name.lower()}. Leave it out of `targets`.")
    return warnings
