"""ImageSpec: the pixels, or the numbers, at one end of a network. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from p2p_deploy.errors import SpecError
from p2p_deploy.spec.checks import check_choice, check_integer, check_pair

MAX_VALUE = 1e6
MAX_CLASSES = 65_536
MAX_LATENT = 65_536

Color = Literal["rgb", "gray"]
Dtype = Literal["uint8", "int32", "float32"]
Kind = Literal["image", "labels", "instances", "latent", "class"]
Side = TypeVar("Side")

_CHANNELS = {"rgb": 3, "gray": 1}
_VECTORS = ("latent", "class")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The pixels at one end of a network.

    Attributes:
        channels: number of channels in a frame, 3 for ``rgb`` and 1 for ``gray``; of a latent vector, how long it is.
        color: channel order of the frame.
        dtype: what crosses the border of the artefact: ``uint8`` frames (N, H, W, C) from 0 to 255, or ``float32``
            values (N, C, H, W) in ``value_range``. Labels and instances are (N, H, W, 1), ``int32``, or ``uint8`` where
            there are no more than 256 classes. Latent vectors are (N, C) ``float32``, classes (N, 1) ``int32``.
        value_range: what black and white (0 and 255) are inside the network; of no meaning for anything but pictures.
        kind: a picture; a map of classes from 0; a map of instances, any numbers, of which only the edges matter; a
            vector drawn from N(0, 1); or one class, from 0, for the whole picture.
        classes: how many classes labels have, or there are to choose from; None for the others.
    """

    channels: int
    color: Color = "rgb"
    dtype: Dtype = "uint8"
    value_range: tuple[float, float] = (-1.0, 1.0)
    kind: Kind = "image"
    classes: int | None = None

    def __post_init__(self) -> None:
        check_choice("color", self.color, get_args(Color))
        check_choice("dtype", self.dtype, get_args(Dtype))
        check_choice("kind", self.kind, get_args(Kind))
        check_integer("channels", self.channels, 1, MAX_LATENT if self.kind == "latent" else 4)
        if self.kind == "class" and self.channels != 1:
            raise SpecError(f"A class is 1 number, the spec says {self.channels}.")
        if self.kind != "latent" and self.channels != _CHANNELS[self.color]:
            raise SpecError(
                f"A {self.color} image has {_CHANNELS[self.color]} channels, the spec says {self.channels}."
            )
        low, high = check_pair("value_range", self.value_range, (int, float))
        self._check_kind()
        if not -MAX_VALUE <= low < high <= MAX_VALUE:
            raise SpecError(
                f"value_range must be (low, high) with low < high and within ±{MAX_VALUE:g}, got {self.value_range!r}."
            )

    def _check_kind(self) -> None:
        if self.kind in ("labels", "class"):
            check_integer("classes", self.classes, 1, MAX_CLASSES)
        elif self.classes is not None:
            raise SpecError(f"classes are for labels and class, got {self.classes!r} for {self.kind}.")
        expected = {
            "image": ("uint8", "float32"),
            "labels": ("uint8",) if (self.classes or 0) <= 256 else ("int32",),
            "instances": ("int32",),
            "latent": ("float32",),
            "class": ("int32",),
        }
        if self.dtype not in expected[self.kind]:
            raise SpecError(f"{self.kind} of this kind are {' or '.join(expected[self.kind])}, got {self.dtype}.")

    @property
    def is_vector(self) -> bool:
        """Whether this is a latent vector or a class, which have no height and width."""
        return self.kind in _VECTORS

    @property
    def channels_first(self) -> bool:
        """Whether one image is (C, H, W), as float32 values are, and not (H, W, C)."""
        return self.dtype == "float32"

    def shape(self, height: Side, width: Side) -> tuple[int | Side, ...]:
        """Shape of one image of height x width pixels; names stand for sizes that may vary."""
        if self.is_vector:
            return (self.channels,)
        return (self.channels, height, width) if self.channels_first else (height, width, self.channels)

    def sides(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of a batch of this shape, the inverse of ``shape`` with a batch axis in front."""
        _, height, width = shape[1:] if self.channels_first else shape[:3]
        return height, width

    @classmethod
    def for_channels(cls, channels: int) -> ImageSpec:
        """The usual image of a pix2pix-family network: grey for 1 channel, RGB for 3, in [-1, 1].

        Raises:
            SpecError: for any other number of channels.
        """
        colors: dict[int, Color] = {1: "gray", 3: "rgb"}
        if channels not in colors:
            raise SpecError(f"Images have 1 (grey) or 3 (RGB) channels, got {channels}.")
        return cls(channels=channels, color=colors[channels])

    @classmethod
    def for_labels(cls, classes: int) -> ImageSpec:
        """A map of classes, numbered from 0.

        Raises:
            SpecError: for a number of classes that is no number of classes.
        """
        check_integer("classes", classes, 1, MAX_CLASSES)
        return cls(1, "gray", "uint8" if classes <= 256 else "int32", kind="labels", classes=classes)

    @classmethod
    def for_instances(cls) -> ImageSpec:
        """A map of instances."""
        return cls(1, "gray", "int32", kind="instances")

    @classmethod
    def for_latent(cls, length: int) -> ImageSpec:
        """A vector of so many numbers from N(0, 1).

        Raises:
            SpecError: the length is out of range.
        """
        return cls(length, "gray", "float32", kind="latent")

    @classmethod
    def for_class(cls, classes: int) -> ImageSpec:
        """One of so many classes, numbered from 0.

        Raises:
            SpecError: for a number of classes that is no number of classes.
        """
        return cls(1, "gray", "int32", kind="class", classes=classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "channels": self.channels,
            "color": self.color,
            "dtype": self.dtype,
            "value_range": list(self.value_range),
            "kind": self.kind,
            **({"classes": self.classes} if self.classes is not None else {}),
        }

    @classmethod
    def from_dict(cls, data: Any) -> ImageSpec:
        """Read what ``to_dict`` gave; KeyError, TypeError or SpecError for what it cannot have given."""
        fields = {key: data[key] for key in ("channels", "color", "dtype", "kind")}
        return cls(**fields, value_range=tuple(data["value_range"]), classes=data.get("classes"))
