"""A stand-in for a GPU and its CUDA runtime that notices who did not wait; ``fake_tensorrt`` is the rest.

Work is queued on streams as on a GPU. When it is done is a matter of ``Gpu.pace``: ``late`` does it only when someone
waits for it, ``early`` at once, ``random`` at any time in between; a program that synchronises rightly cannot tell.
What a program must not do ends up in ``Gpu.violations``. Until an output has been copied, its memory holds noise.
"""

# ruff: noqa: N802, N815 (the names are NVIDIA's)

from __future__ import annotations

import copy
import random
import threading
from collections import deque

import numpy as np
from cuda.bindings import runtime as real_cuda

SUCCESS = real_cuda.cudaError_t.cudaSuccess
NOISE = 0xA5


def answer(frames: np.ndarray) -> np.ndarray:
    """What the pretended network computes: each picture's negative, mirrored."""
    return 255 - frames[:, :, ::-1] if frames.dtype == np.uint8 else -frames[..., ::-1]


def answer_maps(labels: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """What it computes from maps: a picture in which both can be read."""
    low, high = instances & 0xFF, instances >> 8 & 0xFF
    return np.concatenate([labels.astype(np.int32), low, high], axis=3).astype(np.uint8)


def answer_vectors(latents: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What it computes from vectors of 16 numbers: 8x8 pictures in which both can be read."""
    return latents.view(np.uint8).reshape(-1, 8, 8, 1) ^ classes[:, :, None, None].astype(np.uint8)


class Gpu:
    """The state of a pretended machine.

    Attributes:
        calls: every call that can fail, by name, in order.
        fail_at: index into ``calls`` of the one that fails, or None.
        broken: error that every later wait gives, as after an illegal access.
        live: what has been acquired and not been released: name -> number.
        released: what has been released, by name, in order.
        done: (stream, what) of all work done, in order.
        captures: (N, H, W, C) of every captured graph.
        violations: what a real GPU would have punished.
        most_in_flight: how many streams had a network waiting at once.
        refuses_capture: let every capture end invalid.
        host_code_allowed: what was set when a plan was deserialised.
        cached_kernels: what TensorRT for RTX was given to start from.
        log: the log that TensorRT was given, or None.
        says: what TensorRT writes into it when one of its calls fails.
        strategies: how the contexts that were made get their memory.
    """

    def __init__(self, pace: str = "late", count: int = 1, device: int = 0, fail_at: int | None = None) -> None:
        self.pace, self.count, self.device, self.fail_at = pace, count, device, fail_at
        self.random = random.Random(0)
        self.current = threading.local()
        self.broken = SUCCESS
        self.lock = threading.RLock()  # CUDA may be called from several threads
        self.calls: list[str] = []
        self.live: dict[str, int] = {}
        self.released: list[str] = []
        self.done: list[tuple[int, str]] = []
        self.captures: list[tuple[int, ...]] = []
        self.violations: list[str] = []
        self.memory: dict[int, np.ndarray] = {}
        self.streams: dict[int, Stream] = {}
        self.most_in_flight = 0
        self.refuses_capture = False
        self.host_code_allowed: bool | None = None
        self.cached_kernels: bytes | None = None
        self.log = None
        self.says: list[str] = []
        self.strategies: list = []

    def fails(self, name: str) -> bool:
        """Count a call that can fail, and say whether this one does."""
        self.calls.append(name)
        if name != "cudaSetDevice":
            self._on_the_right_gpu(name)
        if self.pace == "random":
            for stream in [*self.streams.values()]:  # another thread may open one
                stream.advance(self.random.randrange(3))
        failing = len(self.calls) - 1 == self.fail_at
        if failing and not name.startswith("cuda") and self.log is not None:
            for text in self.says:
                self.log.log(self.log.Severity.ERROR, text)
        return failing

    def _on_the_right_gpu(self, name: str) -> None:
        if getattr(self.current, "device", 0) != self.device:
            self.violations.append(f"{name} on another GPU")

    def acquired(self, name: str) -> None:
        self.live[name] = self.live.get(name, 0) + 1

    def gone(self, name: str) -> None:
        self.released.append(name)
        self.live[name] -= 1
        if name not in ("pinned", "graph"):  # which are of no GPU
            self._on_the_right_gpu(f"releasing {name}")
        if not self.live[name]:
            del self.live[name]
        for outer, inner in (("Runtime", "Engine"), ("Engine", "Context"), ("Engine", "Config")):
            if name == outer and inner in self.live:
                self.violations.append(f"{outer} released before {inner}")

    def at(self, address: int, size: int) -> np.ndarray:
        """The bytes at an address."""
        for start, block in self.memory.items():
            if start <= address < start + len(block):
                if address + size > start + len(block):
                    self.violations.append("access beyond the end of an allocation")
                return block[address - start :][:size]
        self.violations.append("access to memory that is not there")
        return np.zeros(size, np.uint8)


class Stream:
    def __init__(self, gpu: Gpu, number: int) -> None:
        self.gpu, self.number = gpu, number
        self.queue: deque = deque()
        self.captured: list | None = None

    def __int__(self) -> int:
        return self.number

    def add(self, work) -> None:
        if self.captured is not None:
            self.captured.append(work)
            return
        work.queued(self.gpu)
        self.queue.append(work)
        busy = [stream for stream in self.gpu.streams.values() if any(type(item) is Execute for item in stream.queue)]
        self.gpu.most_in_flight = max(self.gpu.most_in_flight, len(busy))
        if self.gpu.pace == "early":
            self.advance(1)

    def advance(self, steps: int) -> None:
        for _ in range(min(steps, len(self.queue))):
            work = self.queue.popleft()
            work.run(self.gpu)
            self.gpu.done.append((self.number, type(work).__name__))


class CopyIn:
    def __init__(self, target: int, source: int, size: int) -> None:
        self.target, self.source, self.size = target, source, size

    def queued(self, gpu: Gpu) -> None:
        self.seen = gpu.at(self.source, self.size).copy()

    def run(self, gpu: Gpu) -> None:
        if not np.array_equal(self.seen, gpu.at(self.source, self.size)):
            gpu.violations.append("an input was rewritten before it had been copied")
        gpu.at(self.target, self.size)[:] = gpu.at(self.source, self.size)


class CopyOut(CopyIn):
    def queued(self, gpu: Gpu) -> None:
        gpu.at(self.target, self.size)[:] = NOISE

    def run(self, gpu: Gpu) -> None:
        gpu.at(self.target, self.size)[:] = gpu.at(self.source, self.size)


class Execute:
    def __init__(self, context) -> None:
        self.state, self.version = context.state, context.state.version
        self.shapes, self.addresses, self.dtypes = dict(context.shapes), dict(context.addresses), context.dtypes

    def queued(self, gpu: Gpu) -> None:
        if self.state.pending:
            gpu.violations.append("two runs of one context at once")
        if self.version != self.state.version:
            gpu.violations.append("a graph was replayed after its context had been changed")
        self.state.pending += 1

    def run(self, gpu: Gpu) -> None:
        self.state.pending -= 1
        inputs = []
        for name, dtype in self.dtypes.items():
            size = int(np.prod(self.shapes[name])) * dtype.itemsize
            inputs.append(gpu.at(self.addresses[name], size).view(dtype).reshape(self.shapes[name]))
        if len(inputs) == 1:
            output = answer(*inputs)
        else:
            output = answer_vectors(*inputs) if inputs[0].ndim == 2 else answer_maps(*inputs)
        gpu.at(self.addresses["output"], output.nbytes)[:] = output.ravel().view(np.uint8)


class Record:
    def __init__(self, event: Event) -> None:
        self.event = event

    def queued(self, gpu: Gpu) -> None:
        self.event.latest = self

    def run(self, gpu: Gpu) -> None:
        """Being taken off the queue is all."""


class Event:
    latest: Record | None = None


def _void(function):
    def call(self, *arguments):
        with self._gpu.lock:
            if self._gpu.fails(function.__name__):
                return (real_cuda.cudaError_t.cudaErrorUnknown,)
            return (function(self, *arguments) or SUCCESS,)

    call.__name__ = function.__name__
    return call


def _value(function):
    def call(self, *arguments):
        with self._gpu.lock:
            if self._gpu.fails(function.__name__):
                return real_cuda.cudaError_t.cudaErrorMemoryAllocation, None
            return SUCCESS, function(self, *arguments)

    call.__name__ = function.__name__
    return call


class FakeCuda:
    """The part of ``cuda.bindings.runtime`` that running a plan takes; its constants are the real ones."""

    cudaError_t = real_cuda.cudaError_t
    cudaMemcpyKind = real_cuda.cudaMemcpyKind
    cudaStreamCaptureMode = real_cuda.cudaStreamCaptureMode
    cudaStreamNonBlocking = real_cuda.cudaStreamNonBlocking
    cudaEventBlockingSync = real_cuda.cudaEventBlockingSync
    cudaEventDisableTiming = real_cuda.cudaEventDisableTiming
    cudaGetErrorString = staticmethod(real_cuda.cudaGetErrorString)

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._numbers = iter(range(1, 10**6))

    def _release(self, name: str) -> tuple:
        self._gpu.gone(name)
        return (SUCCESS,)

    def cudaGetDeviceCount(self):
        return SUCCESS, self._gpu.count

    def cudaGetLastError(self):
        return (SUCCESS,)

    def cudaGetDevice(self):
        return SUCCESS, getattr(self._gpu.current, "device", 0)

    @_void
    def cudaSetDevice(self, index):
        self._gpu.current.device = index

    def _allocate(self, name: str, size: int) -> int:
        block = np.full(size, NOISE, np.uint8)
        self._gpu.memory[block.ctypes.data] = block
        self._gpu.acquired(name)
        return block.ctypes.data

    @_value
    def cudaMalloc(self, size):
        return self._allocate("memory", size)

    @_value
    def cudaMallocHost(self, size):
        return self._allocate("pinned", size)

    def cudaFree(self, address):
        del self._gpu.memory[address]
        return self._release("memory")

    def cudaFreeHost(self, address):
        del self._gpu.memory[address]
        return self._release("pinned")

    @_value
    def cudaStreamCreateWithFlags(self, flags):
        stream = Stream(self._gpu, next(self._numbers))
        self._gpu.streams[stream.number] = stream
        self._gpu.acquired("stream")
        return stream

    def cudaStreamDestroy(self, stream):
        if stream.queue:
            self._gpu.violations.append("a stream was released with work on it")
        del self._gpu.streams[stream.number]
        return self._release("stream")

    def cudaStreamSynchronize(self, stream):
        stream.advance(len(stream.queue))
        return (self._gpu.broken,)

    @_value
    def cudaEventCreateWithFlags(self, flags):
        self._gpu.acquired("event")
        return Event()

    def cudaEventDestroy(self, event):
        return self._release("event")

    @_void
    def cudaEventRecord(self, event, stream):
        stream.add(Record(event))

    @_void
    def cudaEventSynchronize(self, event):
        for stream in self._gpu.streams.values():
            if event.latest in stream.queue:
                stream.advance(list(stream.queue).index(event.latest) + 1)
        return self._gpu.broken

    @_void
    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        inward = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        stream.add((CopyIn if inward else CopyOut)(target, source, size))

    @_void
    def cudaStreamBeginCapture(self, stream, mode):
        stream.captured = []

    def cudaStreamEndCapture(self, stream):
        work, stream.captured = stream.captured, None
        if self._gpu.fails("cudaStreamEndCapture") or self._gpu.refuses_capture:
            return real_cuda.cudaError_t.cudaErrorStreamCaptureInvalidated, None
        self._gpu.acquired("graph")
        return SUCCESS, work

    @_value
    def cudaGraphInstantiate(self, graph, flags):
        self._gpu.captures += [next(iter(work.shapes.values())) for work in graph if isinstance(work, Execute)]
        self._gpu.acquired("replay")
        return graph

    def cudaGraphDestroy(self, graph):
        return self._release("graph")

    def cudaGraphExecDestroy(self, graph):
        return self._release("replay")

    @_void
    def cudaGraphLaunch(self, graph, stream):
        for work in graph:
            stream.add(copy.copy(work))


def assert_well(gpu: Gpu) -> None:
    """Nothing forbidden happened, and nothing is left."""
    assert not gpu.violations, gpu.violations
    assert not gpu.live, gpu.live
