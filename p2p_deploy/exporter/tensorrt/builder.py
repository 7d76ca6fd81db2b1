"""From an ONNX file to a TensorRT plan, with ``tensorrt`` or with TensorRT for RTX: one code path, two modules.

Networks are strongly typed: what a layer computes in is written in the graph, so the precision that is reported is
read back from the parsed network. TensorRT for RTX builds ahead of time, without a GPU; ``tensorrt`` times its kernels
on one. Neither torch nor onnx is needed, since plans are also rebuilt where these are not installed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p_deploy.backends import cuda
from p2p_deploy.backends.tensorrt.log import Excerpt, log_of
from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.tensorrt import timing_cache
from p2p_deploy.exporter.tensorrt.config import check_options, configure, target_capabilities
from p2p_deploy.exporter.tensorrt.flavours import Flavour, building_on
from p2p_deploy.exporter.tensorrt.layers import PrecisionReport, read_precision
from p2p_deploy.exporter.tensorrt.progress import OnProgress, progress_monitor, stoppable
from p2p_deploy.files import replacing
from p2p_deploy.options.export import BuildOptions
from p2p_deploy.spec.sidecar import Profile

# What its documentation says an ahead-of-time build is for when no targets are named; later ones are promised too.
RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")


@dataclass(frozen=True)
class PlanBuild:
    """A plan that was built, and what the builder said about it.

    Attributes:
        precision: read from the parsed network; multiply-accumulates are those of the first profile's opt shape.
        profiles: as they are in the plan, in its order.
        gpu: the GPU it was built on, or a text that names what it was built for.
        compute_capabilities: those it was built for, such as ``8.9``.
        warnings: what the builder remarked, and what is to be known about the options.
        seconds: how long the builder took.
    """

    precision: PrecisionReport
    profiles: tuple[Profile, ...]
    gpu: str
    compute_capabilities: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Input:
    """An input of a network: its name, its shape, -1 where dynamic, and whether channels come last.

    Latent vectors and classes have two dimensions, all others four.
    """

    name: str
    shape: tuple[int, ...]
    channels_last: bool

    @property
    def is_vector(self) -> bool:
        return len(self.shape) == 2

    def fixed(self, profile: Profile) -> Profile:
        """The profile with what the graph fixes; vectors do not tell the size of what is made of them."""
        asked = (profile.batch, profile.height, profile.width)
        if self.is_vector:
            own = [self.shape[0], -1, -1]
        else:
            own = [self.shape[axis] for axis in ((0, 1, 2) if self.channels_last else (0, 2, 3))]
        return Profile(*(values if size < 0 else (size,) * 3 for size, values in zip(own, asked, strict=True)))

    def shapes(self, profile: Profile) -> list[tuple[int, ...]]:
        """Whole shapes: min, opt and max."""
        if self.is_vector:
            return [(batch, self.shape[1]) for batch in profile.batch]
        sizes = zip(profile.batch, profile.height, profile.width, strict=True)
        if self.channels_last:
            return [(batch, height, width, self.shape[3]) for batch, height, width in sizes]
        return [(batch, self.shape[1], height, width) for batch, height, width in sizes]


def build_plan(
    onnx_path: Path,
    plan_path: Path,
    options: BuildOptions,
    flavour: Flavour,
    on_progress: OnProgress = lambda phase, done, total: None,
) -> PlanBuild:
    """Build a plan and write it exactly as the builder serialised it, whole or not at all.

    Args:
        onnx_path: a graph whose inputs are frames (N, H, W, C) uint8 or (N, C, H, W) float32, or labels and instances
            (N, H, W, 1) uint8 or int32, or ``latent`` (N, Z) float32 and ``class`` (N, 1) int32.
        plan_path: the file to write, replacing what is there.
        options: what to build.
        flavour: the TensorRT to use.
        on_progress: called with the builder's phase and how many of its steps are done, from whichever thread the
            builder is on. What it raises, KeyboardInterrupt too, stops the build and is raised from here.

    Raises:
        ExportError: the options do not suit the flavour, or the parser or the builder refuses the graph or a profile;
            the sentence has the layer's name where they give it.
        MissingDependency, DeviceError: the GPU that ``tensorrt`` is to build on cannot be selected.
        OutputError: the plan cannot be written.
    """
    if not options.profiles:
        raise ExportError("A plan needs at least one optimization profile; received none.")
    check_options(options, flavour)
    with building_on(flavour, options.device):
        return _build(onnx_path, plan_path, options, flavour, on_progress)


def _build(
    onnx_path: Path, plan_path: Path, options: BuildOptions, flavour: Flavour, on_progress: OnProgress
) -> PlanBuild:
    trt = flavour.module
    log = log_of(trt.ILogger)
    said = log.from_now()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)  # holds the weights until the plan is built
    _parse(parser, onnx_path, flavour, said)
    inputs = _inputs(trt, network, onnx_path)
    config = builder.create_builder_config()
    notes = configure(config, options, flavour)
    profiles = tuple(inputs[0].fixed(profile) for profile in options.profiles)
    for profile in profiles:
        _add_profile(builder, config, inputs, profile, flavour, log)
    gpu, capabilities = _built_for(options, flavour)
    cache = _timing_cache(options, flavour, gpu)
    notes += timing_cache.hand_in(config, cache, log) if cache else []
    config.progress_monitor = monitor = progress_monitor(trt.IProgressMonitor, on_progress)
    building = log.from_now()
    started = time.perf_counter()
    with stoppable(monitor):
        plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - started
    _check_built(plan, onnx_path.name, flavour, building)
    notes += timing_cache.keep(config, cache) if cache else []
    precision = read_precision(trt, network, {one.name: one.shapes(profiles[0])[1] for one in inputs})
    with replacing(plan_path) as temporary:
        temporary.write_bytes(memoryview(plan))
    return PlanBuild(precision, profiles, gpu, capabilities, (*said.warnings(), *notes), seconds)


def _parse(parser: Any, onnx_path: Path, flavour: Flavour, said: Excerpt) -> None:
    if parser.parse_from_file(str(onnx_path)):
        return
    reasons = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = error.node_name() or error.node_operator()
        reasons.append(f"{error.desc()} (node {node})" if node else error.desc())
    raise ExportError(f"{flavour} cannot read {onnx_path.name}: {'; '.join(reasons) or said.reason()}")


def _inputs(trt: Any, network: Any, onnx_path: Path) -> list[_Input]:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    kinds = {trt.DataType.UINT8: True, trt.DataType.INT32: True, trt.DataType.FLOAT: False}
    if not inputs or any(len(item.shape) != _dimensions(item.name) or item.dtype not in kinds for item in inputs):
        received = ", ".join(f"{item.name} {tuple(item.shape)} {item.dtype.name}" for item in inputs)
        raise ExportError(
            f"{onnx_path.name} takes {received or 'nothing'}; expected frames (N, H, W, C) UINT8 or (N, C, H, W) "
            "FLOAT, labels and instances (N, H, W, 1), or latent (N, Z) and class (N, 1). Take an ONNX file that p2p "
            "export wrote."
        )
    return [_Input(item.name, tuple(item.shape), kinds[item.dtype]) for item in inputs]


def _dimensions(name: str) -> int:
    """How many the input of this name has."""
    return 2 if name in ("latent", "class") else 4


def _add_profile(builder: Any, config: Any, inputs: list[_Input], profile: Profile, flavour: Flavour, log: Any) -> None:
    shapes = builder.create_optimization_profile()
    try:
        for one in inputs:
            shapes.set_shape(one.name, *one.shapes(profile))
    except (RuntimeError, TypeError, ValueError) as exc:
        raise ExportError(f"{flavour} refuses the profile {profile}: {exc}") from exc
    said = log.from_now()
    if config.add_optimization_profile(shapes) < 0:
        raise ExportError(f"{flavour} refuses the profile {profile}: {said.reason()}")


def _built_for(options: BuildOptions, flavour: Flavour) -> tuple[str, tuple[str, ...]]:
    """The GPU of a plan, in words, and its compute capabilities."""
    if flavour.name == "tensorrt":
        return cuda.device_name(options.device), (cuda.compute_capability(options.device),)
    targets = tuple(target_capabilities(options.targets, flavour))
    if targets:
        return f"compute capability {', '.join(targets)}", targets
    return (
        f"the builder's default targets: compute capability {', '.join(RTX_CAPABILITIES)} and later",
        RTX_CAPABILITIES,
    )


def _timing_cache(options: BuildOptions, flavour: Flavour, gpu: str) -> Path | None:
    if flavour.name != "tensorrt":
        return None
    return options.timing_cache or timing_cache.default_path(flavour.name, flavour.version, gpu)


def _check_built(plan: Any, onnx_name: str, flavour: Flavour, said: Excerpt) -> None:
    """Raise ExportError when there is no plan, or one that fails at sizes its profiles allow."""
    if plan is None:
        raise ExportError(f"{flavour} cannot build a plan from {onnx_name}: {said.reason()}")
    for message in said.warnings():
        if "values are not self-consistent" in message:
            raise ExportError(
                f"{onnx_name} does not work at every size of its profiles: {message} Take heights and widths that "
                "are multiples of the model's size multiple. No plan was written."
            )
