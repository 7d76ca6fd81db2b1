"""The memory that batches are computed in, allocated once and used again and again."""

from __future__ import annotations

import numpy as np

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.errors import OutOfMemory
from p2p_deploy.runner.batch_size import BatchSize
from p2p_deploy.runner.fitting import Size

# One slot being filled, one being computed, one being written, and one to spare for whichever stage is late.
SLOTS = 4
# What a slot may hold; pictures that are larger go through alone. More would gain no speed, and a run would spend its
# time on having memory cleared: large pictures keep a device busy in small batches.
SLOT_BYTES = 2**25


class SlotPool:
    """The slots of one model. Used from the main thread only.

    Attributes:
        load: slots that are out.
    """

    def __init__(self, model: Model, batch: BatchSize, size: Size | None) -> None:
        """Where all pictures have one ``size``, slots are allocated here, so that a model that refuses does so now.

        Raises:
            Failed: there is not enough memory, or the model does not take such batches.
        """
        self.load = 0
        self._model, self._batch = model, batch
        self._asked = batch.asked if size else None
        self._most = SLOTS + model.in_flight - 1
        self._free: list[Slot] = model.slots(self._most, self._capacity(size), size) if size else []

    def take(self, size: Size) -> Slot | None:
        """A free slot for images of this size, or None; where all are of other sizes, one of them is replaced."""
        if self.load >= self._most:
            return None
        slot = next((slot for slot in self._free if slot.size == size), None)
        if slot is not None:
            self._free.remove(slot)
        else:
            if self.load + len(self._free) >= self._most:
                del self._free[0]
            slot = self._allocate(size)
        self.load += 1
        slot.count = 0
        return slot

    def give(self, slot: Slot) -> None:
        """Take a slot back; its arrays may be overwritten from now on."""
        self.load -= 1
        self._free.append(slot)

    def _capacity(self, size: Size) -> int:
        """Images of (height, width) that a slot has room for."""
        if self._asked:
            return self._batch.most
        spec = self._model.spec
        each = sum(
            int(np.prod(image.shape(*size))) * np.dtype(image.dtype).itemsize for image in (*spec.inputs, spec.output)
        )
        return max(1, min(self._batch.most, self._model.max_batch(size), SLOT_BYTES // each))

    def _allocate(self, size: Size) -> Slot:
        capacity = self._capacity(size)
        while True:
            try:
                return self._model.slots(1, capacity, size)[0]
            except OutOfMemory:
                if capacity == 1:
                    raise
                capacity //= 2
                self._batch.limit(capacity)
