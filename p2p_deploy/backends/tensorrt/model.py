"""TensorRT plans: checked against their sidecar, then run with one stream per slot; ``tensorrt`` and TensorRT for RTX.

The two flavours, and the lean runtime, are the same Python API in different modules, so the module is a value here.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from p2p_deploy.backends import cuda
from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.backends.cuda_runtime import CudaDevice, import_cuda
from p2p_deploy.backends.tensorrt import rtx
from p2p_deploy.backends.tensorrt.log import Excerpt, log_of
from p2p_deploy.backends.tensorrt.preflight import TITLES, CheckedPlan, check_plan, rebuild
from p2p_deploy.backends.tensorrt.slot import MAKE_ROOM, ExecutionContext, TensorRTSlot
from p2p_deploy.errors import Failed, P2PError, StalePlan
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec.sidecar import Profile, fixed_sizes


def open_plan(path: Path, options: LoadOptions) -> TensorRTModel:
    """Check a plan and open it on a GPU; ``preflight.check_plan`` has what is checked.

    Raises:
        ModelFileError: the sidecar is missing or broken, or the plan carries code and is not trusted.
        StalePlan: the plan does not fit this TensorRT, system or GPU, or is not the one its sidecar describes.
        DeviceError: there is no such GPU, or the CPU was asked for.
        MissingDependency: the flavour of TensorRT it was built with, or cuda-bindings, is not installed.
        Failed: the GPU or TensorRT failed.
    """
    plan = check_plan(path, options)
    # TensorRT runtimes come after this: one of them ends the process where CUDA does not work.
    return TensorRTModel(plan, CudaDevice(import_cuda(), plan.device), options)


class TensorRTModel(Model):
    """A plan on a GPU.

    ``submit`` queues copies and network and returns; ``wait`` waits for that one slot. Closing waits for what is under
    way and gives the GPU back; arrays of slots stay valid for as long as someone has them.

    Attributes:
        profiles: the shapes it takes, in the engine's order.
        precision: what its network was built to compute in, as the sidecar says.

    Raises:
        StalePlan: TensorRT refuses the plan, or it is not what the sidecar says.
        Failed: the GPU or TensorRT failed.
    """

    name = "tensorrt"
    in_flight = 2

    def __init__(self, plan: CheckedPlan, device: CudaDevice, options: LoadOptions) -> None:
        super().__init__(plan.sidecar.spec, f"cuda:{device.index}")
        asked = plan.sidecar.precision.get("asked")
        self.precision = asked if isinstance(asked, str) else None
        self._path, self._sidecar, self._trt = plan.path, plan.sidecar, plan.trt
        self._device = device
        self._cuda_graphs = options.cuda_graphs
        self._graph_refusals: list[str] = []
        self._releases: list[weakref.finalize[..., Any]] = []
        self._log = log_of(plan.trt.ILogger)
        self._cache: Any = None
        self._config: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        try:
            self._open(plan.data)
        except BaseException:
            self._forget()
            raise

    @property
    def _rtx(self) -> bool:
        return self._sidecar.flavour == "rtx"

    @property
    def _title(self) -> str:
        return f"{TITLES[self._sidecar.flavour]} {self._trt.__version__}"

    def _open(self, data: bytes) -> None:
        """Make TensorRT's objects; none is in a local variable, where a traceback would keep it beyond ``_forget``."""
        said = self._log.from_now()
        try:
            self._runtime = self._trt.Runtime(self._log)
        except (RuntimeError, TypeError) as exc:  # what its bindings make of a null pointer
            raise Failed(f"{self._title} does not start on {self.device}: {said.reason()}. Run p2p doctor.") from exc
        if self._sidecar.carries_code:  # check_plan asked whether the plan is trusted
            self._runtime.engine_host_code_allowed = True
        said = self._log.from_now()
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise self._not_loaded(said)
        self._names = self._read_names()
        self.profiles = self._read_profiles()
        if self._rtx:
            said = self._log.from_now()
            self._config = self._engine.create_runtime_config()
            self._cache = self._config.create_runtime_cache() if self._config is not None else None
            if self._cache is None:
                raise Failed(f"{self._title} gives no runtime configuration: {said.reason()}. Run p2p doctor.")
            rtx.configure(self._trt, self._config, self._cache, self._path, self._cuda_graphs)

    def _not_loaded(self, said: Excerpt) -> P2PError:
        """A GPU without room says nothing against the plan, which must then not be built again."""
        if said.blames_the_gpu():
            return Failed(f"{self._title} cannot load {self._path} on {self.device}: {said.reason()}. {MAKE_ROOM}")
        return self._stale(f"{self._title} refuses it: {said.reason()}")

    def _stale(self, what: str) -> StalePlan:
        return StalePlan(f"{self._path} cannot be used: {what}. {rebuild(self._path, self._sidecar)}")

    def _read_names(self) -> list[str]:
        """Names of inputs and output; they must be what the spec says, or slots would be bound to the wrong memory."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        found = [self._signature(name) for name in names]
        batch, *sides = fixed_sizes(self._sidecar.profiles)
        modes = self._trt.TensorIOMode
        types = {
            "uint8": self._trt.DataType.UINT8,
            "int32": self._trt.DataType.INT32,
            "float32": self._trt.DataType.FLOAT,
        }
        size = self.spec.fixed_size or (-1, -1)
        ends = [*((modes.INPUT, image) for image in self.spec.inputs), (modes.OUTPUT, self.spec.output)]
        expected = [(mode, types[image.dtype], (-1, *image.shape(*size))) for mode, image in ends]
        # Where every profile fixes a size, an engine may give that size and not -1.
        fixed = [(batch, *image.shape(*sides)) for _, image in ends]
        if len(found) != len(expected) or not all(map(_agrees, found, expected, fixed)):
            raise self._stale(f"its sidecar promises {expected}, the engine has {found}")
        if names[:-1] != self.spec.input_names:
            raise self._stale(f"its sidecar promises the inputs {self.spec.input_names}, the engine has {names[:-1]}")
        return names

    def _signature(self, name: str) -> tuple[Any, Any, tuple[int, ...]]:
        """Direction, element type and shape, -1 where it varies."""
        engine = self._engine
        return engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))

    def _read_profiles(self) -> tuple[Profile, ...]:
        """The engine's profiles, which its sidecar must know: slots are allocated by them."""
        profiles = []
        for index in range(self._engine.num_optimization_profiles):
            shapes = self._engine.get_tensor_profile_shape(self._names[0], index)
            sides = [self._size_of(tuple(shape)) for shape in shapes]
            height, width = zip(*sides, strict=True)
            profiles.append(Profile(tuple(shape[0] for shape in shapes), height, width))
        if tuple(profiles) != self._sidecar.profiles:
            said, has = ("; ".join(map(str, found)) for found in (self._sidecar.profiles, profiles))
            raise self._stale(f"its sidecar promises {said}, the engine has {has}")
        return tuple(profiles)

    def _size_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of the pictures of a batch of inputs of this shape."""
        return self.size if self.spec.input.is_vector else self.spec.input.sides(shape)

    def slots(self, count: int, capacity: int, size: tuple[int, int] | None = None) -> list[Slot]:
        """Allocate slots with page-locked arrays, and what each has on the GPU. See ``Model.slots``.

        Raises:
            Failed: no profile admits that many frames of that size, or there is not enough memory.
            ValueError: the backend is closed.
        """
        self._require_open()
        height, width = size or self.size
        _, rows = self._profile_for(capacity, height, width)
        gc.collect()  # slots of an earlier run that a failed item's traceback still holds: their memory is on the GPU
        self._device.select()
        slots: list[TensorRTSlot] = []
        try:
            for _ in range(count):
                slots.append(TensorRTSlot(capacity, (height, width), self.spec, self._device, self._new_lane, rows))
        except BaseException:
            for slot in reversed(slots):
                slot.release()
            raise
        self._releases = [release for release in self._releases if release.alive]
        self._releases += [slot.release for slot in slots]
        return [*slots]

    def max_batch(self, size: tuple[int, int]) -> int:
        """The largest batch of the plan's profiles for images of this size; 0 where none has it."""
        return max((p.batch[2] for p in self.profiles if p.admits(p.batch[2], *size)), default=0)

    def _new_lane(self, sizes: Sequence[int]) -> ExecutionContext:
        refusals = self._graph_refusals if self._cuda_graphs and not self._rtx else None
        return ExecutionContext(self._device, self._new_context, self._names, sizes, self._log, refusals)

    def _new_context(self) -> Any:
        said = self._log.from_now()
        if self._rtx:
            context = self._engine.create_execution_context(self._config)
        else:  # with memory for the profile it runs, and not for the largest of all; rtx.configure says the same
            strategy = self._trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise Failed(
                f"{self._title} cannot make an execution context on {self.device}: {said.reason()}. {MAKE_ROOM}"
            )
        return context

    def _profile_for(self, batch: int, height: int, width: int) -> tuple[int, int]:
        """Index of the profile for a shape, and how many rows it computes: those of the batch, or its smallest batch.

        Of several, the one with the fewest rows, then the smallest. Fewer frames never need more rows.
        """
        fitting = []
        for index, profile in enumerate(self.profiles):
            rows = max(batch, profile.batch[0])
            if batch >= 1 and profile.admits(rows, height, width):
                largest_shape = prod(ranges[2] for ranges in (profile.batch, profile.height, profile.width))
                fitting.append((rows, largest_shape, index))
        if fitting:
            rows, _, index = min(fitting)
            return index, rows
        largest = self.max_batch((height, width))
        hint = f"Take a smaller `batch`, at most {largest}," if batch > largest > 0 else "Take another size or `batch`,"
        raise Failed(
            f"{batch} frames of {height}x{width} pixels are outside what {self._path} was built for: "
            f"{'; '.join(map(str, self.profiles))}. {hint} or export a plan for them, with `trt=True`."
        )

    def submit(self, slot: Slot) -> None:
        """Queue the batch and return; the slot's arrays belong to the GPU until ``wait``."""
        self._require_open()
        assert isinstance(slot, TensorRTSlot)
        profile, rows = self._profile_for(slot.count, *slot.size)
        self._device.select()
        inputs = [array[: slot.count] for array in slot.inputs]
        slot.lane.submit(profile, rows, inputs, slot.output[: slot.count])

    def wait(self, slot: Slot) -> None:
        """Return when this slot's output is valid, whatever else is under way.

        Raises:
            Failed: the GPU failed.
            ValueError: the backend is closed.
        """
        assert isinstance(slot, TensorRTSlot)
        slot.lane.wait()

    def fingerprint(self) -> str:
        """SHA-256 of the plan, which was compared with its sidecar when it was opened."""
        return self._sidecar.plan_sha256

    def versions(self) -> dict[str, str]:
        """Flavour and version, the GPU, and how CUDA graphs are used."""
        if not self._cuda_graphs:
            graphs = "off"
        elif self._rtx:
            graphs = "captured by TensorRT for RTX"
        else:
            graphs = f"not possible: {self._graph_refusals[0]}" if self._graph_refusals else "captured for each shape"
        return {
            "tensorrt": self._title,
            "plan": self._sidecar.flavour_version,
            "device": cuda.device_name(self._device.index),
            "cuda_graphs": graphs,
        }

    def close(self) -> None:
        """Wait for what is under way, then give everything back, the last thing first."""
        with self._call_lock, self._device.releasing():
            super().close()
            for release in reversed(self._releases):
                release()
            if self._cache is not None:
                rtx.save_cache(self._cache, self._path)
            self._forget()

    def _forget(self) -> None:
        """Let go of TensorRT's objects, each before the one it came from; they have no other way to be destroyed."""
        self._releases = []
        self._cache = self._config = None
        self._engine = None
        self._runtime = None

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("this model is closed; open it again with p2p_deploy.load")


def _agrees(found: tuple[Any, ...], expected: tuple[Any, ...], fixed: tuple[int, ...]) -> bool:
    """Whether direction, element type and shape are those expected; a size may also be the ``fixed`` one, if not -1."""
    shape, wanted = found[2], expected[2]
    sizes = zip(shape, wanted, fixed, strict=False)
    return (
        found[:2] == expected[:2]
        and len(shape) == len(wanted)
        and all(size == want or size == fix != -1 for size, want, fix in sizes)
    )
