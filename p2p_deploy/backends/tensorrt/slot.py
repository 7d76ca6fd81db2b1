"""A slot with a way to the GPU and back: pinned arrays, GPU memory, a stream, an event, an execution context."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from p2p_deploy.backends.base import Slot
from p2p_deploy.backends.cuda_runtime import CudaDevice
from p2p_deploy.backends.tensorrt.log import Excerpt
from p2p_deploy.errors import Failed
from p2p_deploy.spec import ModelSpec

# What is left to do where TensorRT finds no room, or refuses for another reason.
MAKE_ROOM = "Take a plan with a smaller maximum size or batch, or end other programs that use this GPU."
_TRY_AGAIN = "Run it again; if it is refused again, export the plan again, with `trt=True`."


class ExecutionContext:
    """What one slot has on the GPU; everything it does is queued on its own stream, in order.

    The execution context belongs to this lane alone. Several contexts may use one optimisation profile at a time, which
    TensorRT allows since 10.0; two streams may not use one context.

    A CUDA graph has the shapes, the addresses and the state of its context in it, and TensorRT leaves undefined what a
    graph does after its context was changed. So a lane has one graph, of the shape it is set to. It is captured when a
    shape comes for the second time in a row, because the first run with a shape does work that must not be captured,
    and is given up when another shape comes.

    Attributes:
        context: TensorRT's execution context, or None after ``close``.

    Raises:
        Failed: the GPU has no room, or TensorRT makes no context.
    """

    def __init__(
        self,
        device: CudaDevice,
        new_context: Callable[[], Any],
        names: Sequence[str],
        sizes: Sequence[int],
        log: Any,
        graph_refusals: list[str] | None,
    ) -> None:
        """Acquire everything, or nothing.

        Args:
            device: the GPU, selected in this thread.
            new_context: gives an execution context, or raises Failed.
            names: of the plan's inputs and, last, its output.
            sizes: of the same, in bytes.
            log: where TensorRT says why it refused something, see ``trt_log``.
            graph_refusals: where to note why graphs cannot be captured, after which nobody tries; None for no graphs.
        """
        self._device = device
        self._names = names
        self._log = log
        self._graph_refusals = graph_refusals
        self._graph: Any = None
        self._shape: tuple[int, ...] | None = None
        with ExitStack() as stack:
            self._addresses = [device.memory(stack, size) for size in sizes]
            self._stream = device.stream(stack)
            self._event = device.event(stack)
            self.context = new_context()
            self._stack = stack.pop_all()

    def submit(self, profile: int, rows: int, inputs: Sequence[np.ndarray], output: np.ndarray) -> None:
        """Queue copy in, network, copy out and the event that ``wait`` waits for.

        Args:
            profile: index of the optimisation profile.
            rows: how many the network computes, no fewer than there are images; what is in the others does not matter,
                because each picture is computed on its own.
            inputs: the rows to compute, an array for each input; left alone until ``wait``.
            output: where the answer goes; undefined until ``wait``.

        Raises:
            Failed: CUDA or TensorRT failed.
            ValueError: the lane is closed.
        """
        self._require_open()
        shape = (profile, rows, *output.shape)
        work = functools.partial(self._enqueue, inputs, output)
        if shape != self._shape:
            self._change_shape(profile, [(rows, *array.shape[1:]) for array in (*inputs, output)])
            work()
            self._shape = shape
        else:
            if self._graph is None:
                self._capture(work)
            if self._graph is None:
                work()
            else:
                self._device.launch(self._graph, self._stream)
        self._device.record(self._event, self._stream)

    def wait(self) -> None:
        """Return when what was submitted last is done.

        Raises:
            Failed: the GPU failed, now or earlier.
            ValueError: the lane is closed, and its event is gone.
        """
        self._require_open()
        self._device.wait(self._event)

    def close(self) -> None:
        """Wait for what is under way, then release everything, the last thing first; never raises."""
        with self._device.releasing():  # in whichever thread the garbage collector is
            self._device.drain(self._stream)
            self._drop_graph()
            self.context = None
            self._stack.close()

    def _require_open(self) -> None:
        if self.context is None:
            raise ValueError("this model is closed; open it again with p2p_deploy.load")

    def _change_shape(self, profile: int, shapes: list[tuple[int, ...]]) -> None:
        self._drop_graph()
        said = self._log.from_now()
        if self._shape is None or self._shape[0] != profile:
            self._shape = None
            # This is where the context gets the memory it works in.
            chosen = self.context.set_optimization_profile_async(profile, int(self._stream))
            self._accept(said, chosen, f"profile {profile}", MAKE_ROOM)
        self._shape = None
        for name, address in zip(self._names, self._addresses, strict=True):
            self._accept(said, self.context.set_tensor_address(name, address), f"the address of {name}")
        *inputs, output = shapes
        for name, shape in zip(self._names, inputs, strict=False):
            self._accept(said, self.context.set_input_shape(name, shape), f"the shape {shape}")
        found = tuple(self.context.get_tensor_shape(self._names[-1]))
        if found != output:
            raise Failed(f"The plan answers images of {inputs[0]} with {found}, expected {output}. Export it again.")

    def _enqueue(self, inputs: Sequence[np.ndarray], output: np.ndarray) -> None:
        for address, array in zip(self._addresses, inputs, strict=False):
            self._device.copy_in(address, array, self._stream)
        said = self._log.from_now()
        self._accept(said, self.context.execute_async_v3(int(self._stream)), f"a batch of {len(output)}")
        self._device.copy_out(output, self._addresses[-1], self._stream)

    def _capture(self, work: Callable[[], None]) -> None:
        """Turn the work into a graph; where that fails, say so and go on without, which costs time and nothing else."""
        if self._graph_refusals is None or self._graph_refusals:
            return
        try:
            self._graph = self._device.capture(self._stream, work)
        except Failed as exc:
            self._graph_refusals.append(str(exc))

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._device.drop_graph(self._graph)
            self._graph = None

    def _accept(self, said: Excerpt, answer: bool, what: str, hint: str = _TRY_AGAIN) -> None:
        if not answer:
            raise Failed(f"TensorRT refused {what} on cuda:{self._device.index}: {said.reason()}. {hint}")


class TensorRTSlot(Slot):
    """A slot whose arrays are page-locked, so that copies do not hold up the thread that asks for them.

    Attributes:
        lane: its way to the GPU.
        release: gives the lane back, once; happens by itself when the slot is forgotten. The arrays stay valid for as
            long as anyone has them.
    """

    def __init__(
        self,
        capacity: int,
        size: tuple[int, int],
        spec: ModelSpec,
        device: CudaDevice,
        new_lane: Callable[[Sequence[int]], ExecutionContext],
        rows: int,
    ) -> None:
        """Allocate arrays for ``capacity`` frames, and GPU memory for the ``rows`` that the network may compute."""
        super().__init__(capacity, size, spec, device.pinned)
        self.lane = new_lane([rows * array[0].nbytes for array in (*self.inputs, self.output)])
        self.release = weakref.finalize(self, self.lane.close)
