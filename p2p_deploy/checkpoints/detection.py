"""What is found out about a file of weights from its keys and shapes, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from p2p_deploy.errors import CheckpointError
from p2p_deploy.spec import ImageSpec

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass
class Layers:
    """Collects which layer of a file is which of ours.

    Attributes:
        shapes: every key of the file and its shape.
        renamed: key in the file to key in our module.
        dropped: keys that carry nothing.
        names: layer in our module to layer in the file, whether the file has it or not.
    """

    shapes: Shapes
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def weight(self, layer: str) -> Shape:
        """Shape of a layer's weight, which has four dimensions.

        Raises:
            CheckpointError: it is missing or has another number of dimensions.
        """
        shape = self.shapes.get(f"{layer}.weight")
        if shape is None or len(shape) != 4:
            what = "is missing" if shape is None else f"has the shape {shape}"
            raise CheckpointError(f"{layer}.weight {what}; expected a convolution's (out, in, height, width).")
        return shape

    def has(self, key: str) -> bool:
        """Whether the file has this key."""
        return key in self.shapes

    def conv(self, theirs: str, ours: str) -> None:
        """A convolution, with its bias where there is one."""
        self._take(theirs, ours, ("weight", "bias"))

    def norm(self, theirs: str, ours: str) -> None:
        """A norm; statistics without a scale are those of an InstanceNorm, which does not use them."""
        self.names[ours] = theirs
        if self.has(f"{theirs}.running_mean") and not self.has(f"{theirs}.weight"):
            tracked = (f"{theirs}.{name}" for name in ("running_mean", "running_var", "num_batches_tracked"))
            self.dropped += [key for key in tracked if self.has(key)]
            return
        self._take(theirs, ours, ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))

    def statistics(self, theirs: str, ours: str) -> None:
        """A BatchNorm without scale and shift."""
        self._take(theirs, ours, ("running_mean", "running_var", "num_batches_tracked"))

    def theirs(self, key: str) -> str:
        """What a key of our module is called in the file."""
        layer, _, name = key.rpartition(".")
        return f"{self.names.get(layer, layer)}.{name}"

    def _take(self, theirs: str, ours: str, names: tuple[str, ...]) -> None:
        self.names[ours] = theirs
        self.renamed.update({f"{theirs}.{name}": f"{ours}.{name}" for name in names if self.has(f"{theirs}.{name}")})


@dataclass(frozen=True)
class Detection:
    """A network that was recognised.

    Attributes:
        family: whose it is, in words.
        arch: key into ``generators.GENERATORS``.
        arch_kwargs: arguments of its constructor.
        layers: which layer of the file is which of ours; every key of the file is ``renamed`` or ``dropped`` there.
        inputs: what it takes.
        output: what it gives.
        train_size: (height, width) it is assumed to have been trained at, pixels.
        features: channels after those of the inputs that a feature encoder would fill.
        asks: names of the ``Assumptions`` that make a difference to this network.
        inferred: what the keys say, for people to read.
        assumed: what they do not say, and what was taken instead.
    """

    family: str
    arch: str
    arch_kwargs: Mapping[str, Any]
    layers: Layers
    inputs: tuple[ImageSpec, ...]
    output: ImageSpec
    train_size: tuple[int, int]
    features: int = 0
    asks: frozenset[str] = frozenset()
    inferred: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def image_of(channels: int, end: str) -> ImageSpec:
    """The picture of a network with this many channels at its ``end`` (input or output).

    Raises:
        CheckpointError: there is no picture of so many.
    """
    if channels not in (1, 3):
        raise CheckpointError(
            f"the network's {end} has {channels} channels; images have 1 (grey) or 3 (RGB), and other data is not "
            "supported."
        )
    return ImageSpec.for_channels(channels)


def at_least(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """``size`` in multiples of ``multiple``, rounded up."""
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width
