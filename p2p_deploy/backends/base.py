"""What every runtime looks like from outside: slots of memory, submit, wait.

To add a runtime: one file here with a ``Backend``, one line in ``p2p_deploy.backends.BACKENDS``; the shared contract
test does the rest.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np

from p2p_deploy.errors import Failed
from p2p_deploy.pixels import Pixels
from p2p_deploy.spec import ModelSpec


def available_cores() -> int:
    """CPU cores this process may use, which in a container can be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Slot:
    """One batch's worth of memory, allocated once and used again and again.

    Whoever holds the slot owns both arrays until giving it back: nothing writes to ``output`` while it is being read.

    Attributes:
        input: (capacity, H, W, C_in) uint8; the first ``count`` rows are the batch.
        output: (capacity, H, W, C_out) uint8; valid in the first ``count`` rows after ``Backend.wait``.
        count: how many rows the batch has.
    """

    def __init__(self, capacity: int, input_HWC: tuple[int, int, int], output_HWC: tuple[int, int, int]) -> None:
        self.input: Pixels = np.zeros((capacity, *input_HWC), dtype=np.uint8)
        self.output: Pixels = np.zeros((capacity, *output_HWC), dtype=np.uint8)
        self.count = 0

    @property
    def capacity(self) -> int:
        """How many frames fit."""
        return self.input.shape[0]

    def compact(self, keep: list[int]) -> None:
        """Keep only the rows ``keep`` (ascending), moved together at the front, and set ``count``."""
        for target, source in enumerate(keep):
            if source != target:
                self.input[target] = self.input[source]
        self.count = len(keep)


class Backend(ABC):
    """A loaded model: uint8 frames in, uint8 frames out.

    ``submit`` may return before the work is done; ``wait`` returns when ``slot.output`` is valid. A backend is used
    from one thread at a time, except for calling the object, which is safe from any thread.

    Attributes:
        name: the runtime, e.g. ``onnxruntime``.
        device: where it computes, e.g. ``cpu`` or ``cuda:0``.
        spec: what the model is.
        in_flight: how many submitted slots the runtime can have waiting; 1 for runtimes that compute in ``submit``.
    """

    name: str
    in_flight: int = 1

    def __init__(self, spec: ModelSpec, device: str) -> None:
        self.spec = spec
        self.device = device
        self._closed = False
        self._call_lock = threading.Lock()
        self._call_slot: Slot | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames this model takes and gives, pixels."""
        return self.spec.working_size

    def slots(self, count: int, capacity: int) -> list[Slot]:
        """Allocate ``count`` slots of ``capacity`` frames each.

        Raises:
            Failed: there is not enough memory.
            ValueError: the backend is closed.
        """
        if self._closed:
            raise ValueError("this model is closed; open it again with p2p_deploy.load")
        shapes = [(*self.size, image.channels) for image in (self.spec.input, self.spec.output)]
        try:
            return [Slot(capacity, *shapes) for _ in range(count)]
        except (MemoryError, ValueError) as exc:  # ValueError: more bytes than an address can count
            height, width = self.size
            raise Failed(
                f"{count} batches of {capacity} frames of {height}x{width} pixels do not fit into memory. Take a "
                "smaller --batch."
            ) from exc

    @abstractmethod
    def submit(self, slot: Slot) -> None:
        """Start computing ``slot.output[:slot.count]`` from ``slot.input[:slot.count]``; ``count`` is at least 1.

        Raises:
            Failed: the runtime or the device failed.
        """

    @abstractmethod
    def wait(self, slot: Slot) -> None:
        """Return when the slot's output is valid."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """What would have to be known to repeat a measurement: runtime version, threads, device name."""

    def close(self) -> None:
        """Release the runtime's resources; the backend cannot be used afterwards."""
        self._closed = True
        self._call_slot = None

    def __call__(self, frames_NHWC: Pixels) -> Pixels:
        """Run a batch and return a new array.

        Args:
            frames_NHWC: (N, H, W, C) uint8, N at least 1, H and W the model's size, C and channel order as in the spec.

        Returns:
            (N, H, W, C_out) uint8.

        Raises:
            ValueError: wrong shape or element type, or a closed model.
            Failed: the runtime failed.
        """
        expected = (*self.size, self.spec.input.channels)
        frames = np.asarray(frames_NHWC)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != expected or not len(frames):
            raise ValueError(
                f"expected uint8 frames of shape (N, {', '.join(map(str, expected))}), "
                f"got {frames.dtype} of shape {frames.shape}; p2p_deploy.pixels.resize changes sizes"
            )
        with self._call_lock:
            if self._call_slot is None or self._call_slot.capacity < len(frames):
                self._call_slot = self.slots(1, len(frames))[0]
            slot = self._call_slot
            slot.count = len(frames)
            slot.input[: slot.count] = frames
            self.submit(slot)
            self.wait(slot)
            return slot.output[: slot.count].copy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
