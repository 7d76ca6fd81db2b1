"""What every runtime looks like from outside: slots of memory, submit, wait.

To add a runtime: one file here with a ``Backend``, one line in ``p2p_deploy.backends.BACKENDS``; the shared contract
test does the rest.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np

from p2p_deploy.errors import Failed, SpecError
from p2p_deploy.spec import ModelSpec


def available_cores() -> int:
    """CPU cores this process may use, which in a container can be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


Allocate = Callable[[tuple[int, ...], str], np.ndarray]


class Slot:
    """One batch's worth of memory, allocated once and used again and again.

    Whoever holds the slot owns the arrays until giving it back: nothing writes to ``output`` while it is being read.

    Attributes:
        inputs: one array for each of the model's inputs, (capacity, ...) with the shape and element type of its
            ``ImageSpec``; the first ``count`` rows are the batch.
        output: the same for the output; valid in the first ``count`` rows after ``Backend.wait``.
        size: (height, width) of the images, pixels.
        count: how many rows the batch has.
    """

    def __init__(self, capacity: int, size: tuple[int, int], spec: ModelSpec, allocate: Allocate = np.zeros) -> None:
        *self.inputs, self.output = (
            allocate((capacity, *image.shape(*size)), image.dtype) for image in (*spec.inputs, spec.output)
        )
        self.size = size
        self.count = 0

    @property
    def input(self) -> np.ndarray:
        """The first input."""
        return self.inputs[0]

    @property
    def capacity(self) -> int:
        """How many frames fit."""
        return len(self.output)

    def compact(self, keep: list[int]) -> None:
        """Keep only the rows ``keep`` (ascending), moved together at the front, and set ``count``."""
        for target, source in enumerate(keep):
            if source != target:
                for rows in self.inputs:
                    rows[target] = rows[source]
        self.count = len(keep)


class Backend(ABC):
    """A loaded model: images in, images out, as its spec describes them.

    ``submit`` may return before the work is done; ``wait`` returns when ``slot.output`` is valid. A backend is used
    from one thread at a time, except for calling the object, which is safe from any thread.

    Attributes:
        name: the runtime, e.g. ``onnxruntime``.
        device: where it computes, e.g. ``cpu`` or ``cuda:0``.
        spec: what the model is.
        precision: what the network computes in, as far as the file says: ``fp32``, ``fp16``, ``bf16`` or None.
        in_flight: how many submitted slots the runtime can have waiting; 1 for runtimes that compute in ``submit``.
    """

    name: str
    in_flight: int = 1
    precision: str | None = None

    def __init__(self, spec: ModelSpec, device: str) -> None:
        self.spec = spec
        self.device = device
        self._closed = False
        self._call_lock = threading.RLock()  # a signal handler may close what its own thread is calling
        self._call_slot: Slot | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames this model takes and gives, pixels."""
        return self.spec.working_size

    def slots(self, count: int, capacity: int, size: tuple[int, int] | None = None) -> list[Slot]:
        """Allocate ``count`` slots of ``capacity`` frames each.

        Args:
            count: how many.
            capacity: frames in each.
            size: (height, width) in pixels, for a model that takes several; default its working size.

        Raises:
            Failed: there is not enough memory.
            ValueError: the backend is closed.
        """
        if self._closed:
            raise ValueError("this model is closed; open it again with p2p_deploy.load")
        height, width = size or self.size
        try:
            return [Slot(capacity, (height, width), self.spec) for _ in range(count)]
        except (MemoryError, ValueError) as exc:  # ValueError: more bytes than an address can count
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
        """Release the runtime's resources; the backend cannot be used afterwards. Waits for calls in other threads."""
        with self._call_lock:
            self._closed = True
            self._call_slot = None

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Run a batch and return a new array.

        Args:
            frames: (N, H, W, C) uint8, or (N, C, H, W) float32 in the spec's range where the spec says float32. N is at
                least 1; H and W are the model's size, or, where that is not fixed, any that suit it.

        Returns:
            The same with the channels of the output.

        Raises:
            ValueError: wrong shape or element type, or a closed model.
            Failed: the runtime failed.
        """
        frames = np.asarray(frames)
        size = self._check_frames(frames)
        with self._call_lock:
            slot = self._call_slot
            if slot is None or slot.capacity < len(frames) or slot.size != size:
                slot = self._call_slot = self.slots(1, len(frames), size)[0]
            slot.count = len(frames)
            slot.input[: slot.count] = frames
            self.submit(slot)
            self.wait(slot)
            return slot.output[: slot.count].copy()

    def _check_frames(self, frames: np.ndarray) -> tuple[int, int]:
        """(height, width) of frames that suit the model; ValueError for others."""
        image, size = self.spec.input, self.spec.fixed_size
        expected = image.shape(*(size or ("H", "W")))
        fits = frames.dtype == image.dtype and frames.ndim == 4 and len(frames) > 0
        if not fits or any(b != a for a, b in zip(expected, frames.shape[1:], strict=True) if isinstance(a, int)):
            raise ValueError(
                f"expected {image.dtype} frames of shape (N, {', '.join(map(str, expected))}), got {frames.dtype} of "
                f"shape {frames.shape}; p2p_deploy.pixels changes sizes and element types"
            )
        height, width = image.sides(frames.shape)
        try:
            self.spec.check_size(height, width)
        except SpecError as exc:
            raise ValueError(str(exc)) from exc
        return height, width

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
