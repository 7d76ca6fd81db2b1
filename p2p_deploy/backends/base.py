"""What every runtime looks like from outside: slots of memory, submit, wait.

To add a runtime: one file here with a ``Model``, one line in ``p2p_deploy.backends.BACKENDS``; the shared contract
test does the rest.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from p2p_deploy.errors import OutOfMemory, SpecError
from p2p_deploy.files import sha256
from p2p_deploy.spec import ModelSpec

Allocate = Callable[[tuple[int, ...], str], np.ndarray]


class Slot:
    """One batch's worth of memory, allocated once and used again and again.

    Whoever holds the slot owns the arrays until giving it back: nothing writes to ``output`` while it is being read.

    Attributes:
        inputs: one array for each of the model's inputs, (capacity, ...) with the shape and element type of its
            ``ImageSpec``; the first ``count`` rows are the batch.
        output: the same for the output; valid in the first ``count`` rows after ``Model.wait``.
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


class Model(ABC):
    """A loaded model: images in, images out, as its spec describes them.

    ``submit`` may return before the work is done; ``wait`` returns when ``slot.output`` is valid. A backend is used
    from one thread at a time, except for calling the object, which is safe from any thread.

    Attributes:
        name: the runtime, e.g. ``onnxruntime``.
        device: where it computes, e.g. ``cpu`` or ``cuda:0``.
        spec: what the model is.
        precision: what the network computes in, as far as the file says: ``fp32``, ``fp16``, ``bf16`` or None.
        path: the file it was opened from, where ``load`` opened it.
        in_flight: how many submitted slots the runtime can have waiting; 1 for runtimes that compute in ``submit``.
    """

    name: str
    path: Path | None = None
    in_flight: int = 1
    precision: str | None = None

    def __init__(self, spec: ModelSpec, device: str) -> None:
        self.spec = spec
        self.device = device
        self._closed = False
        self._call_lock = threading.RLock()  # a signal handler may close what its own thread is calling
        self._call_slot: Slot | None = None
        self._fingerprint: str | None = None

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
            raise OutOfMemory(
                f"{count} batches of {capacity} frames of {height}x{width} pixels do not fit into memory. Take a "
                "smaller `batch`."
            ) from exc

    def max_batch(self, size: tuple[int, int]) -> int:
        """How many images of (height, width) it takes at once; 0 where it does not take that size."""
        return 2**31

    def fingerprint(self) -> str:
        """SHA-256 of the file it was opened from; empty where that is not known. Read once."""
        if self._fingerprint is None:
            self._fingerprint = sha256(self.path) if self.path else ""
        return self._fingerprint

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

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Run a batch and return a new array.

        Args:
            inputs: frames (N, H, W, C) uint8, or (N, C, H, W) float32 in the spec's range where the spec says float32;
                or labels and, where the spec has them, instances, (N, H, W, 1); or latent vectors (N, Z) float32 and,
                where the spec has them, classes (N, 1) int32. N is at least 1; H and W are the model's size, or, where
                that is not fixed, any that suit it.

        Returns:
            (N, H, W, C_out) uint8, or (N, C_out, H, W) float32.

        Raises:
            ValueError: wrong shape or element type, or a closed model.
            Failed: the runtime failed.
        """
        arrays = [np.asarray(array) for array in inputs]
        size = self._check_inputs(arrays)
        with self._call_lock:
            slot = self._call_slot
            if slot is None or slot.capacity < len(arrays[0]) or slot.size != size:
                slot = self._call_slot = self.slots(1, len(arrays[0]), size)[0]
            slot.count = len(arrays[0])
            for rows, array in zip(slot.inputs, arrays, strict=True):
                rows[: slot.count] = array
            self.submit(slot)
            self.wait(slot)
            return slot.output[: slot.count].copy()

    def _check_inputs(self, arrays: list[np.ndarray]) -> tuple[int, int]:
        """(height, width) of inputs that suit the model; ValueError for others."""
        kinds = self.spec.input_names
        if len(arrays) != len(kinds):
            raise ValueError(f"expected {len(kinds)} arrays ({', '.join(kinds)}), got {len(arrays)}")
        size = self.spec.fixed_size or ("H", "W")
        for image, kind, array in zip(self.spec.inputs, kinds, arrays, strict=True):
            expected = image.shape(*size)
            fits = array.dtype == image.dtype and array.ndim == 1 + len(expected) and len(array) > 0
            if not fits or any(b != a for a, b in zip(expected, array.shape[1:], strict=True) if isinstance(a, int)):
                hint = "" if image.is_vector else "; p2p_deploy.pixels changes sizes and element types"
                raise ValueError(
                    f"expected {image.dtype} {kind} of shape (N, {', '.join(map(str, expected))}), got {array.dtype} "
                    f"of shape {array.shape}{hint}"
                )
        if self.spec.input.is_vector:
            if len({*map(len, arrays)}) > 1:
                raise ValueError(f"expected as many of each, got {' and '.join(str(len(array)) for array in arrays)}")
            return self.size
        pairs = zip(self.spec.inputs, arrays, strict=True)
        if len({(len(array), *image.sides(array.shape)) for image, array in pairs}) > 1:
            raise ValueError(f"expected arrays of one size, got {' and '.join(str(array.shape) for array in arrays)}")
        height, width = self.spec.input.sides(arrays[0].shape)
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
