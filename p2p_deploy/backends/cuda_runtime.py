"""The few CUDA calls that running a plan takes, each checked, each acquisition with its release."""

from __future__ import annotations

import contextlib
import gc
import importlib
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np

from p2p_deploy.errors import DeviceError, Failed, MissingDependency


def import_cuda() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as exc:
        raise MissingDependency(
            f"TensorRT plans need the Python package cuda-bindings, which cannot be imported here ({exc}). Install it "
            "with: pip install cuda-bindings"
        ) from exc


@contextlib.contextmanager
def keeping_device(runtime: Any) -> Iterator[None]:
    """Give the calling thread back the GPU it had, when the block ends; never raises by itself.

    Args:
        runtime: what ``import_cuda`` gave.
    """
    error, before = runtime.cudaGetDevice()
    try:
        yield
    finally:
        if error == runtime.cudaError_t.cudaSuccess and runtime.cudaGetDevice() != (error, before):
            runtime.cudaSetDevice(before)


class CudaDevice:
    """One GPU.

    A release never raises: it happens when something else has failed already, or when nothing is left to be lost. A
    GPU that has failed answers every later call with the same error, which the first call has reported.

    Attributes:
        index: which GPU, as in ``cuda:0``.

    Raises:
        DeviceError: CUDA does not offer this GPU, for instance because the driver is too old for it.
    """

    def __init__(self, runtime: Any, index: int) -> None:
        self._runtime = runtime
        self.index = index
        error, count = runtime.cudaGetDeviceCount()
        if error != runtime.cudaError_t.cudaSuccess or index >= count:
            raise DeviceError(
                f"cuda:{index} cannot be used: the driver shows it, but CUDA answers {self._reason(error)} and offers "
                f"{count or 0} GPUs. Update the NVIDIA driver."
            )
        self.select()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call and return the one value beside the error, if there is one."""
        error, *values = function(*arguments)
        codes = self._runtime.cudaError_t
        if error == codes.cudaErrorMemoryAllocation:
            hint = "Take a smaller `batch`, or end other programs that use this GPU."
        else:
            hint = "Run it again; if it fails again, nvidia-smi says whether the GPU is well."
        if error != codes.cudaSuccess:
            raise Failed(f"{function.__name__} failed on cuda:{self.index}: {self._reason(error)}. {hint}")
        return values[0] if values else None

    def _reason(self, error: Any) -> str:
        _, text = self._runtime.cudaGetErrorString(error)
        return f"{error.name} ({text.decode(errors='replace')})"

    def select(self) -> None:
        """Make this the GPU of the calling thread, which is the first one in every new thread."""
        self._call(self._runtime.cudaSetDevice, self.index)

    @contextlib.contextmanager
    def releasing(self) -> Iterator[None]:
        """Make this the thread's GPU while something on it is released; never raises by itself.

        That happens in any thread, also within the work of others: the thread gets back the GPU it had.
        """
        with keeping_device(self._runtime):
            with contextlib.suppress(Failed):
                self.select()
            yield

    def pinned(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """A zeroed array in page-locked memory, which is freed with the last view of it.

        From any other memory, ``cudaMemcpyAsync`` would copy before it returns.
        """
        kind = np.dtype(dtype)
        address = self._call(self._runtime.cudaMallocHost, prod(shape) * kind.itemsize)
        array = np.asarray(_Pinned(self._runtime, address, shape, kind))
        array[...] = 0
        return array

    def memory(self, stack: ExitStack, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        address = self._call(self._runtime.cudaMalloc, size)
        stack.callback(self._runtime.cudaFree, address)
        return int(address)

    def stream(self, stack: ExitStack) -> Any:
        """A stream that does not wait for the default one; releasing it waits for what was queued on it."""
        stream = self._call(self._runtime.cudaStreamCreateWithFlags, self._runtime.cudaStreamNonBlocking)
        stack.callback(self._runtime.cudaStreamDestroy, stream)
        return stream

    def event(self, stack: ExitStack) -> Any:
        """An event whose waiting thread sleeps: the cores are needed for decoding and encoding."""
        flags = self._runtime.cudaEventBlockingSync | self._runtime.cudaEventDisableTiming
        event = self._call(self._runtime.cudaEventCreateWithFlags, flags)
        stack.callback(self._runtime.cudaEventDestroy, event)
        return event

    def copy_in(self, address: int, rows: np.ndarray, stream: Any) -> None:
        """Queue a copy of a pinned array to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpyAsync, address, rows.ctypes.data, rows.nbytes, kind, stream)

    def copy_out(self, rows: np.ndarray, address: int, stream: Any) -> None:
        """Queue a copy from the GPU into a pinned array."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._runtime.cudaMemcpyAsync, rows.ctypes.data, address, rows.nbytes, kind, stream)

    def record(self, event: Any, stream: Any) -> None:
        """Queue an event."""
        self._call(self._runtime.cudaEventRecord, event, stream)

    def wait(self, event: Any) -> None:
        """Return when everything before the event has been done."""
        self._call(self._runtime.cudaEventSynchronize, event)

    def drain(self, stream: Any) -> None:
        """Return when a stream is idle, or its GPU has failed."""
        self._runtime.cudaStreamSynchronize(stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """A graph of what ``work`` queues on ``stream``; nothing of it is computed.

        Raises:
            Failed: the work cannot be captured; the stream can be used as before.
        """
        runtime = self._runtime
        # Thread-local: other threads may allocate meanwhile.
        self._call(
            runtime.cudaStreamBeginCapture, stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        try:
            with _no_collection():
                work()
        except BaseException:
            error, graph = runtime.cudaStreamEndCapture(stream)
            if error == runtime.cudaError_t.cudaSuccess:
                runtime.cudaGraphDestroy(graph)
            runtime.cudaGetLastError()  # else TensorRT would take it for an error of its own next call
            raise
        graph = self._call(runtime.cudaStreamEndCapture, stream)
        try:
            return self._call(runtime.cudaGraphInstantiate, graph, 0)
        finally:
            runtime.cudaGraphDestroy(graph)

    def launch(self, graph: Any, stream: Any) -> None:
        """Queue a captured graph."""
        self._call(self._runtime.cudaGraphLaunch, graph, stream)

    def drop_graph(self, graph: Any) -> None:
        """Release a captured graph."""
        self._runtime.cudaGraphExecDestroy(graph)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from releasing slots: releasing anything would end a capture in this thread."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Pinned:
    """Page-locked memory as an array's base: NumPy keeps it alive for as long as any view exists."""

    def __init__(self, runtime: Any, address: int, shape: tuple[int, ...], kind: np.dtype) -> None:
        self.__array_interface__ = {"version": 3, "typestr": kind.str, "shape": shape, "data": (int(address), False)}
        weakref.finalize(self, runtime.cudaFreeHost, address)
