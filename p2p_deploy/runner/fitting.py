"""How pictures of any size go through a network: resized, padded, or in tiles.

A ``FitPlan`` says which parts of a picture become rows of a batch and how their outputs become a picture again. Padding
reflects the picture at its right and lower edge up to the next size the network takes. Tiles overlap; of each the
margin that can see its cut edge is not used. Where that margin is as wide as the network sees, the result is that of
the whole picture at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from p2p_deploy.backends.base import Model
from p2p_deploy.errors import InputError, ItemFailed
from p2p_deploy.machine import available_memory
from p2p_deploy.options.run import Fit
from p2p_deploy.runner.receptive_field import averages_over_the_picture, receptive_radius
from p2p_deploy.spec import ModelSpec

Size = tuple[int, int]
# On CPUs our networks take up to this much memory for a pixel, see docs/architecture.md.
BYTES_PER_PIXEL = 3000
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
    """Chooses how each picture goes through one model.

    Attributes:
        largest: pixels of the largest row; lowered when the device has no memory for it.
    """

    def __init__(self, spec: ModelSpec, fit: Fit, largest: int, admits: Callable[[Size], bool]) -> None:
        """Refuse what cannot be.

        Args:
            spec: the model's.
            fit: what the user asked for, see ``RunOptions``.
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

    @classmethod
    def for_model(cls, model: Model, fit: Fit) -> Self:
        """By what the model takes, and what the machine has memory for."""
        largest = available_memory() // 2 // BYTES_PER_PIXEL if model.device == "cpu" else 2**40
        return cls(model.spec, fit, largest, lambda size: model.max_batch(size) > 0)

    @property
    def same_for_all(self) -> FitPlan | None:
        """The plan that every picture gets, where it does not depend on the picture."""
        return FitPlan("resize", self.spec.working_size) if self._fit == "resize" else None

    def plan(self, picture: Size) -> FitPlan:
        """The plan for a picture of (height, width) pixels.

        Raises:
            ItemFailed: it is larger than what fits into memory, and may not be cut into tiles.
        """
        found = self._seen.get((picture, self.largest))
        if found is None:
            if len(self._seen) > 4096:  # a million pictures may have a million sizes
                self._seen.clear()
            found = self._seen[picture, self.largest] = self._choose(picture)
        return found

    def smaller(self, size: Size) -> FitPlan | None:
        """The plan that cuts a row of this size, which there was no memory for, into tiles; None where that cannot be.

        No row that is planned from now on has more than half as many pixels.
        """
        self.largest = min(self.largest, size[0] * size[1] // 2)
        if self.spec.fixed_size or not (self._auto or self._fit == "tile"):
            return None
        plan = self.plan(size)
        return plan if plan.how == "tile" and plan.size != size else None

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
