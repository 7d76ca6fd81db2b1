"""Parts of pictures: cut out as a ``FitPlan`` says, and, where they are tiles, blended into a picture again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_deploy.runner.fitting import FitPlan, Size


def cut(picture_HWC: NDArray[Any], plan: FitPlan, index: int) -> NDArray[Any]:
    """The part of a picture that is row ``index``; what lies beyond its edges is its reflection.

    Args:
        picture_HWC: any element type.
        plan: ``pad`` or ``tile``.
        index: of the corner.

    Returns:
        (h, w, C) with the plan's size; a view where nothing is reflected.
    """
    top, left = plan.corners[index]
    height, width = plan.size
    rows, columns = picture_HWC.shape[:2]
    if top + height <= rows and left + width <= columns:
        return picture_HWC[top : top + height, left : left + width]
    down, right = (
        _reflected(start, length, side) for start, length, side in ((top, height, rows), (left, width, columns))
    )
    return np.take(np.take(picture_HWC, down, axis=0), right, axis=1)


def _reflected(start: int, length: int, side: int) -> NDArray[np.intp]:
    """Indices ``start`` to ``start + length`` reflected into 0 to ``side`` - 1, the edge itself not repeated."""
    if side == 1:
        return np.zeros(length, np.intp)
    period = 2 * (side - 1)
    at = np.arange(start, start + length) % period
    return np.minimum(at, period - at)


class TileBlender:
    """The outputs of a picture's tiles, blended as they come. Used from several threads.

    Args:
        plan: how the picture was cut.
        picture: (height, width) of the picture, pixels.
    """

    def __init__(self, plan: FitPlan, picture: Size) -> None:
        self._plan = plan
        self._height, self._width = (
            max(side, max(corner[axis] for corner in plan.corners) + plan.size[axis])
            for axis, side in enumerate(picture)
        )
        self._sum: NDArray[np.float32] | None = None
        self._left = len(plan.corners)
        self._lock = threading.Lock()
        tops, lefts = (sorted({corner[axis] for corner in plan.corners}) for axis in (0, 1))
        self._down = _weights(tops, plan.size[0], plan.margin)
        self._across = _weights(lefts, plan.size[1], plan.margin)

    def add(self, index: int, tile_HWC: NDArray[Any]) -> NDArray[np.float32] | None:
        """Blend in the output of a tile.

        Returns:
            After the last one the whole, (H, W, C) float32 in the tiles' own range, at least the picture's size.
        """
        top, left = self._plan.corners[index]
        height, width = self._plan.size
        weights = self._down[top][:, None, None] * self._across[left][None, :, None]
        weighted = tile_HWC.astype(np.float32) * weights
        with self._lock:
            if self._sum is None:
                self._sum = np.zeros((self._height, self._width, tile_HWC.shape[2]), np.float32)
            self._sum[top : top + height, left : left + width] += weighted
            self._left -= 1
            return self._sum if not self._left else None


def _weights(starts: Sequence[int], size: int, margin: int) -> dict[int, NDArray[np.float32]]:
    """For the tile that begins at each start, its share of each of its pixels; at every pixel the shares sum to 1."""
    shares = {}
    for number, start in enumerate(starts):
        share = np.ones(size, np.float32)
        if number:
            share *= _ramp(margin, starts[number - 1] + size - start - margin, size)
        if number + 1 < len(starts):
            share *= 1 - _ramp(starts[number + 1] - start + margin, size - margin, size)
        shares[start] = share
    total = np.zeros(starts[-1] + size, np.float32)
    for start, share in shares.items():  # where three overlap, or two ramps meet
        total[start : start + size] += share
    return {start: share / total[start : start + size] for start, share in shares.items()}


def _ramp(first: int, last: int, size: int) -> NDArray[np.float32]:
    """0 before ``first``, 1 from ``last`` on, rising evenly in between."""
    at = np.arange(size, dtype=np.float32) + 0.5
    return np.clip((at - first) / max(last - first, 1), 0, 1)
