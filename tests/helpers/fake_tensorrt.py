"""The part of TensorRT that running a plan takes, on a pretended GPU; the enums are the real ones."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import tensorrt_rtx_bindings

from helpers.fake_gpu import Execute, Gpu
from helpers.support import unet_spec
from p2p_deploy.spec import ImageSpec, ModelSpec


class _Tracked:
    """An object whose end is noted; objects know each other's ends only through the ``Gpu``."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        gpu.acquired(type(self).__name__)
        weakref.finalize(self, gpu.gone, type(self).__name__)


class ILogger:
    Severity = tensorrt_rtx_bindings.ILogger.Severity


class FakeTensorRT:
    """A TensorRT module, of any flavour."""

    ILogger = ILogger
    DataType = tensorrt_rtx_bindings.DataType
    TensorIOMode = tensorrt_rtx_bindings.TensorIOMode
    CudaGraphStrategy = tensorrt_rtx_bindings.CudaGraphStrategy
    ExecutionContextAllocationStrategy = tensorrt_rtx_bindings.ExecutionContextAllocationStrategy

    def __init__(self, gpu: Gpu, version: str, profiles=(), spec: ModelSpec | None = None) -> None:
        self.__version__ = version
        self._gpu = gpu
        self._engine = (tuple(profiles), spec or unet_spec())

    def Runtime(self, log):  # noqa: N802
        self._gpu.log = log
        if self._gpu.fails("Runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return Runtime(self._gpu, log, self._engine)


class Runtime(_Tracked):
    def __init__(self, gpu: Gpu, log, engine) -> None:
        super().__init__(gpu)
        self._log, self._arguments = log, engine
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, data: bytes):
        if self._gpu.fails("deserialize_cuda_engine"):
            return None
        self._gpu.host_code_allowed = self.engine_host_code_allowed
        return Engine(self._gpu, *self._arguments)


class Engine(_Tracked):
    def __init__(self, gpu: Gpu, profiles, spec: ModelSpec) -> None:
        super().__init__(gpu)
        self._profiles = profiles
        self.tensors = dict(zip((*spec.input_names, "output"), (*spec.inputs, spec.output), strict=True))
        self._size = getattr(spec, "fixed_size", None) or (-1, -1)
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str):
        mode = FakeTensorRT.TensorIOMode
        return mode.OUTPUT if name == "output" else mode.INPUT

    def get_tensor_dtype(self, name: str):
        kinds = FakeTensorRT.DataType
        return {"uint8": kinds.UINT8, "int32": kinds.INT32, "float32": kinds.FLOAT}[self.tensors[name].dtype]

    def get_tensor_shape(self, name: str):
        return (-1, *self.tensors[name].shape(*self._size))

    def get_tensor_profile_shape(self, name: str, index: int):
        profile = self._profiles[index]
        sizes = zip(profile.batch, profile.height, profile.width, strict=True)
        return [(batch, *self.tensors[name].shape(height, width)) for batch, height, width in sizes]

    def create_runtime_config(self):
        return None if self._gpu.fails("create_runtime_config") else Config(self._gpu)

    def create_execution_context(self, how=FakeTensorRT.ExecutionContextAllocationStrategy.STATIC):
        strategy = how.get_execution_context_allocation_strategy() if isinstance(how, Config) else how
        self._gpu.strategies.append(strategy)
        if self._gpu.fails("create_execution_context"):
            return None
        return Context(self._gpu, self._profiles, self.tensors)


class Config(_Tracked):
    cuda_graph_strategy = FakeTensorRT.CudaGraphStrategy.DISABLED
    _strategy = FakeTensorRT.ExecutionContextAllocationStrategy.STATIC

    def create_runtime_cache(self):
        return None if self._gpu.fails("create_runtime_cache") else Cache(self._gpu)

    def set_runtime_cache(self, cache) -> bool:
        return cache is not None

    def set_execution_context_allocation_strategy(self, strategy) -> None:
        self._strategy = strategy

    def get_execution_context_allocation_strategy(self):
        return self._strategy


class Cache(_Tracked):
    kernels = b"compiled kernels"

    def deserialize(self, blob: bytes) -> bool:
        self._gpu.cached_kernels = blob
        return True

    def serialize(self) -> bytes:
        return self.kernels


class Context(_Tracked):
    def __init__(self, gpu: Gpu, profiles, tensors: dict[str, ImageSpec]) -> None:
        super().__init__(gpu)
        self._profiles, self.tensors = profiles, tensors
        self.dtypes = {name: np.dtype(image.dtype) for name, image in tensors.items() if name != "output"}
        self.profile, self.shapes, self.addresses = None, {}, {}
        self.state = SimpleNamespace(version=0, pending=0)  # what work on a stream may know of it
        self.runs = 0

    def _change(self, name: str) -> bool:
        if self._gpu.fails(name):
            return False
        if self.state.pending:
            self._gpu.violations.append(f"{name} while the context runs")
        self.state.version += 1
        self.runs = 0
        return True

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile, self.shapes = index, {}
        return self._change("set_optimization_profile_async") and 0 <= index < len(self._profiles)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return self._change("set_tensor_address")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        admitted = self._profiles[self.profile].admits(shape[0], *self._sides(name, shape))
        return self._change("set_input_shape") and admitted

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        name, shape = next(iter(self.shapes.items()))
        return (shape[0], *self.tensors["output"].shape(*self._sides(name, shape)))

    def _sides(self, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
        profile = self._profiles[self.profile]
        image = self.tensors[name]
        return (profile.height[0], profile.width[0]) if image.is_vector else image.sides(shape)

    def execute_async_v3(self, handle: int) -> bool:
        if self._gpu.fails("execute_async_v3"):
            return False
        stream = self._gpu.streams[handle]
        if stream.captured is not None and not self.runs:
            self._gpu.violations.append("a graph was captured before its shape had run")
        if stream.captured is not None and gc.isenabled():
            self._gpu.violations.append("slots may be released during a capture")
        self.runs += 1
        stream.add(Execute(self))
        return True
