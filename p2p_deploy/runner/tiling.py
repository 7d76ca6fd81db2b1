"""How pictures of any size go through a network: resized, padded, or in tiles.

A ``FitPlan`` says which parts of a picture become rows of a batch and how their outputs become a picture again. Padding
reflects the picture at its right and lower edge up to the next size the network takes. Tiles overlap, and where they do
their outputs are blended from one to the other; of each tile the margin that can see its cut edge is not used. Where
that margin is as wide as the network sees, the result is that of the whole picture at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from p2p_deploy.errors import InputError, ItemFailed
from p2p_deploy.options.run import Fit
from p2p_deploy.runner.receptive_field import averages_over_the_picture, receptive_radius
from p2p_deploy.spec import ModelSpec

Size = tuple[int, int]
# Pixels over which one tile's output fades into the next one's, at least, where the tile is wide enough.
FEATHER = 16


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How one picture goes through the network.

    Attributes:
        how: ``resize``, ``pad`` or ``tile``.
        size: (height, width) of each row, pixels.
        corners: (top, left) of each row's part of the picture; one but for tiles.
        margin: of tiles, how many pixels at a cut edge are not used.
        exact: whether tiles give what the whole picture at once would give.
    """

    how: Literal["resize", "pad", "tile"]
    size: Size
    corners: tuple[Size, ...] = ((0, 0),)
    margin: int = 0
    exact: bool = True

    def note(self, picture: Size) -> str | None:
        """What happened to a picture of this size, for the summary."""
        height, width = self.size
        if self.how == "tile":
            return f"in tiles of {height}x{width}" + ("" if self.exact else ", which may show at their edges")
        if picture == self.size:
            return None
        return f"resized to {height}x{width} and back" if self.how == "resize" else "padded and cut back"


class FitPlanner:
    """Chooses the layout of each picture for one model.

    Attributes:
        largest: pixels of the largest row; lowered when the device has no memory for it.
    """

    def __init__(self, spec: ModelSpec, fit: Fit, largest: int, admits: Callable[[Size], bool]) -> None:
        """See ``pipeline.run`` for ``fit``.

        Args:
            spec: the model's.
            fit: what the user asked for.
            largest: pixels of the largest row that is tried.
            admits: whether the model takes rows of a size, beyond what the spec says.

        Raises:
            InputError: the model cannot be used in this way.
        """
        if fit == "pad" and spec.fixed_size:
            height, width = spec.fixed_size
            raise InputError(
                f"`fit=pad` is for models that take several sizes, and this one takes {height}x{width} only. Take "
                "resize or tile, or export it with `dynamic=True`."
            )
        if fit == "tile" and spec.input.kind != "image":
            raise InputError("`fit=tile` is for pictures, and this model takes label maps. Take resize or pad.")
        self.spec = spec
        self.largest = largest
        self._admits = admits
        self._fit = fit if fit != "auto" else "resize" if spec.fixed_size else "pad"
        self._auto = fit == "auto" and spec.input.kind == "image"
        self._seen: dict[tuple[Size, int], FitPlan] = {}

    @property
    def same_for_all(self) -> FitPlan | None:
        """The layout that every picture gets, where it does not depend on the picture."""
        return FitPlan("resize", self.spec.working_size) if self._fit == "resize" else None

    @property
    def can_shrink(self) -> bool:
        """Whether rows can be made smaller than they are when memory runs out."""
        return not self.spec.fixed_size and (self._auto or self._fit == "tile")

    def layout(self, picture: Size) -> FitPlan:
        """The layout of a picture of (height, width) pixels.

        Raises:
            ItemFailed: it is larger than what fits into memory, and may not be cut into tiles.
        """
        found = self._seen.get((picture, self.largest))
        if found is None:
            if len(self._seen) > 4096:  # a million pictures may have a million sizes
                self._seen.clear()
            found = self._seen[picture, self.largest] = self._choose(picture)
        return found

    def _choose(self, picture: Size) -> FitPlan:
        if self._fit == "resize":
            return FitPlan("resize", self.spec.working_size)
        whole = self._suiting(picture)
        if self._fit == "pad":
            if whole[0] * whole[1] <= self.largest and self._admits(whole):
                return FitPlan("pad", whole)
            if not self._auto:
                raise ItemFailed(
                    f"A picture of {picture[0]}x{picture[1]} pixels, padded to {whole[0]}x{whole[1]}, does not fit "
                    "into memory. Take `fit=tile` or auto."
                )
        return self._tiles(picture, whole)

    def _suiting(self, picture: Size) -> Size:
        """The next size up that the network takes."""
        multiple = self.spec.size_multiple
        height, width = (-(-max(side, self.spec.min_size) // multiple) * multiple for side in picture)
        return height, width

    def _tiles(self, picture: Size, whole: Size) -> FitPlan:
        sees = receptive_radius(self.spec)
        size = self.spec.fixed_size or self._tile_size(whole, sees)
        smallest = min(size)
        # Where the network sees far, half of a tile still has to be of use.
        margin = max(0, min((smallest - FEATHER) // 4, smallest // 8 if sees is None else sees))
        overlap = 2 * margin + min(FEATHER, smallest // 4)
        # Tiles begin at multiples of what the network takes, where its strides fall as they do in the whole picture.
        step = 1 if self.spec.fixed_size else self.spec.size_multiple
        rows, columns = (_starts(max(pair), pair[1], overlap, step) for pair in zip(whole, size, strict=True))
        corners = tuple((top, left) for top in rows for left in columns)
        exact = not self.spec.fixed_size and not averages_over_the_picture(self.spec) and margin == sees
        return FitPlan("tile", size, corners, margin, exact or len(corners) == 1)

    def _tile_size(self, whole: Size, sees: int | None) -> Size:
        """As large as there is room for where tiles are the way out, else what the model was exported for."""
        room = int(self.largest**0.5)
        wanted = [room, room] if self._auto else [max(side, 6 * (sees or 0)) for side in self.spec.working_size]
        if wanted[0] * wanted[1] > self.largest:
            wanted = [room, room]
        multiple, (least, _) = self.spec.size_multiple, self._suiting((1, 1))
        height, width = (
            min(max(side // multiple * multiple, least), most) for side, most in zip(wanted, whole, strict=True)
        )
        return (height, width) if self._admits((height, width)) else self.spec.working_size


def _starts(length: int, size: int, overlap: int, step: int) -> list[int]:
    """Where tiles of ``size`` begin that cover ``length``, on multiples of ``step``; how much they overlap at least."""
    if size >= length:
        return [0]
    stride = max((size - overlap) // step, 1) * step
    return [*range(0, length - size, stride), -(-(length - size) // step) * step]


def cut(picture_HWC: NDArray[Any], layout: FitPlan, index: int) -> NDArray[Any]:
    """The part of a picture that is row ``index``; what lies beyond its edges is its reflection.

    Args:
        picture_HWC: any element type.
        layout: ``pad`` or ``tile``.
        index: of the corner.

    Returns:
        (h, w, C) with the layout's size; a view where nothing is reflected.
    """
    top, left = layout.corners[index]
    height, width = layout.size
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
        layout: how the picture was cut.
        picture: (height, width) of the picture, pixels.
    """

    def __init__(self, layout: FitPlan, picture: Size) -> None:
        self._layout = layout
        self._height, self._width = (
            max(side, max(corner[axis] for corner in layout.corners) + layout.size[axis])
            for axis, side in enumerate(picture)
        )
        self._sum: NDArray[np.float32] | None = None
        self._left = len(layout.corners)
        self._lock = threading.Lock()
        tops, lefts = (sorted({corner[axis] for corner in layout.corners}) for axis in (0, 1))
        self._down = _weights(tops, layout.size[0], layout.margin)
        self._across = _weights(lefts, layout.size[1], layout.margin)

    def add(self, index: int, tile_HWC: NDArray[Any]) -> NDArray[np.float32] | None:
        """Blend in the output of a tile.

        Returns:
            After the last one the whole, (H, W, C) float32 in the tiles' own range, at least the picture's size.
        """
        top, left = self._layout.corners[index]
        height, width = self._layout.size
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
