"""A way out when memory is short: batches are computed in smaller ones, down to tiles of one image."""

from __future__ import annotations

import numpy as np

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.errors import Failed, OutOfMemory
from p2p_deploy.runner.batch_size import BatchSize
from p2p_deploy.runner.fitting import FitPlanner
from p2p_deploy.runner.tiling import TileBlender, cut
from p2p_deploy.spec import ImageSpec


class MemoryFallback:
    """Submits and waits as a model does, and computes in parts what that has no memory for. Used from one thread."""

    def __init__(self, model: Model, batch_size: BatchSize, planner: FitPlanner) -> None:
        """What memory is too short for is told to ``batch_size`` and ``planner``."""
        self._model, self._batch_size, self._planner = model, batch_size, planner

    def submit(self, slot: Slot) -> bool:
        """Submit a batch; True when it had to be computed in parts and is done.

        Raises:
            Failed: the runtime failed, or there is not even memory for the smallest part.
        """
        try:
            self._model.submit(slot)
        except OutOfMemory as exc:
            self._in_parts(slot, exc)
            return True
        return False

    def wait(self, slot: Slot) -> None:
        """Return when the output of a batch that was submitted is valid. Raises like ``submit``."""
        try:
            self._model.wait(slot)
        except OutOfMemory as exc:
            self._in_parts(slot, exc)

    def _in_parts(self, slot: Slot, reason: OutOfMemory) -> None:
        if slot.count == 1:
            self._in_tiles(slot, reason)
            return
        half = slot.count // 2
        self._batch_size.limit(half)
        for start in range(0, slot.count, half):
            rows = slice(start, min(start + half, slot.count))
            part = self._model.slots(1, rows.stop - rows.start, slot.size)[0]
            self._compute(part, [array[rows] for array in slot.inputs])
            slot.output[rows] = part.output[: part.count]

    def _in_tiles(self, slot: Slot, reason: OutOfMemory) -> None:
        height, width = slot.size
        plan = self._planner.smaller(slot.size)
        if plan is None:
            raise Failed(f"{reason} Images of {height}x{width} pixels are too large for {self._model.device}.")
        spec = self._model.spec
        blender = TileBlender(plan, slot.size)
        picture, answer = _channels_last(slot.input[0], spec.input), _channels_last(slot.output[0], spec.output)
        part = self._model.slots(1, 1, plan.size)[0]
        for index in range(len(plan.corners)):
            tile = cut(picture, plan, index)
            self._compute(part, [(np.moveaxis(tile, -1, 0) if spec.input.channels_first else tile)[None]])
            whole = blender.add(index, _channels_last(part.output[0], spec.output))
        assert whole is not None
        whole = whole[:height, :width]
        answer[...] = whole if answer.dtype == np.float32 else np.clip(np.rint(whole), 0, 255)

    def _compute(self, part: Slot, inputs: list[np.ndarray]) -> None:
        part.count = len(inputs[0])
        for rows, values in zip(part.inputs, inputs, strict=True):
            rows[: part.count] = values
        if not self.submit(part):
            self.wait(part)


def _channels_last(row: np.ndarray, image: ImageSpec) -> np.ndarray:
    """A view of a row, channels last."""
    return np.moveaxis(row, 0, -1) if image.channels_first else row
