"""ModelSpec: what a network is, which pixels it wants and which it gives.

The spec travels with the weights: inside the checkpoint, in the ONNX file's ``metadata_props`` under
``METADATA_KEY``, and in the sidecar of a TensorRT plan. This module uses the standard library only, so that
reading a spec never loads a runtime.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from p2p_deploy.errors import SpecError
from p2p_deploy.spec.checks import check_choice, check_integer, check_pair
from p2p_deploy.spec.image import Dtype, ImageSpec

SCHEMA = "1.0"
METADATA_KEY = "p2p_deploy.spec"
PRECISION_KEY = "p2p_deploy.precision"  # of an ONNX file: fp32, fp16 or bf16
QUALITY_KEY = "p2p_deploy.quality"  # JSON: how an ONNX file compares with its checkpoint
MAX_SIDE = 65_536
# Of the features that a file of this schema may require, those that this version has.
KNOWN_FEATURES = frozenset(("latent",))
_INPUTS = (("image",), ("labels",), ("labels", "instances"), ("latent",), ("latent", "class"))

NormStats = Literal["running", "instance"]
Direction = Literal["AtoB", "BtoA"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A deployable network that gives images, without its weights.

    Attributes:
        name: what the user calls it; used in messages only.
        arch: key into ``p2p_deploy.generators.GENERATORS``; an artefact with the network in it (ONNX, plan) can be
            run without knowing the key.
        arch_kwargs: keyword arguments of the generator's constructor, JSON values only.
        inputs: the images the network takes, in order.
        output: the image it gives.
        size_multiple: height and width must be multiples of this, pixels.
        min_size: smallest height and width the network accepts, pixels.
        train_size: (height, width) the network was trained at, pixels: the default for exports and runs.
        fixed_size: the only (height, width) this artefact takes, or None when it takes any multiple.
        norm_stats: where BatchNorm takes its statistics from at run time: those of the training, or each image's own.
        direction: which side of the training pairs was the input.
        source_sha256: SHA-256 of the checkpoint file this artefact was exported from, or None.
        created_with: name and version of the program that wrote it.
        required_features: features a reader must know to use this artefact correctly.
        extra: keys of a newer schema that this version does not know; kept and shown, never interpreted.
        schema: MAJOR.MINOR of this description.
    """

    name: str
    arch: str
    arch_kwargs: Mapping[str, Any]
    inputs: tuple[ImageSpec, ...]
    output: ImageSpec
    size_multiple: int
    min_size: int
    train_size: tuple[int, int]
    fixed_size: tuple[int, int] | None = None
    norm_stats: NormStats = "running"
    direction: Direction = "AtoB"
    source_sha256: str | None = None
    created_with: str = ""
    required_features: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        check_choice("norm_stats", self.norm_stats, get_args(NormStats))
        check_choice("direction", self.direction, get_args(Direction))
        check_integer("size_multiple", self.size_multiple, 1, MAX_SIDE)
        check_integer("min_size", self.min_size, 1, MAX_SIDE)
        kinds = tuple(image.kind for image in self.inputs)
        if kinds not in _INPUTS or self.output.kind != "image":
            raise SpecError(
                f"A network takes an image, labels, labels and instances, a latent, or a latent and a class, and gives "
                f"an image; the spec lists {', '.join(kinds) or 'nothing'} and {self.output.kind}."
            )
        if self.input.is_vector and self.fixed_size is None:
            raise SpecError(f"A network that takes {' and '.join(kinds)} gives one size; expected it as fixed_size.")
        if not isinstance(self.created_with, str):
            raise SpecError(f"created_with must be a text, got {self.created_with!r}.")
        source = self.source_sha256
        if source is not None and not (isinstance(source, str) and re.fullmatch("[0-9A-Fa-f]{64}", source)):
            raise SpecError(f"source_sha256 must be 64 hexadecimal digits or absent, got {source!r}.")
        for label, size in (("train_size", self.train_size), ("fixed_size", self.fixed_size)):
            if size is not None:
                self.check_size(*check_pair(label, size, (int,)), label=label)

    @property
    def input(self) -> ImageSpec:
        """The image, the labels, or the latent vector."""
        return self.inputs[0]

    @property
    def input_names(self) -> list[str]:
        """What the inputs are called in artefacts and messages: ``frames``, else by their kind."""
        return ["frames" if image.kind == "image" else image.kind for image in self.inputs]

    def with_io(self, dtype: Dtype) -> ModelSpec:
        """A copy that takes and gives images of this element type; inputs of other kinds stay what they are."""
        inputs = tuple(replace(image, dtype=dtype) if image.kind == "image" else image for image in self.inputs)
        return replace(self, inputs=inputs, output=replace(self.output, dtype=dtype))

    @property
    def working_size(self) -> tuple[int, int]:
        """(height, width) in pixels that frames are fitted to: the fixed size, else the training size."""
        return self.fixed_size or self.train_size

    def check_size(self, height: int, width: int, label: str = "size") -> None:
        """Raise SpecError unless the network accepts frames of height x width pixels."""
        for side in (height, width):
            if side % self.size_multiple or not self.min_size <= side <= MAX_SIDE:
                raise SpecError(
                    f"{label} {height}x{width} does not suit {self.arch}: height and width must be multiples of "
                    f"{self.size_multiple} and at least {self.min_size} pixels."
                )

    def with_changes(self, **changes: Any) -> ModelSpec:
        """A copy with some attributes replaced."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; unknown keys of a newer schema are written back as they came."""
        return {
            **self.extra,
            "schema": self.schema,
            "name": self.name,
            "arch": self.arch,
            "arch_kwargs": dict(self.arch_kwargs),
            "inputs": [image.to_dict() for image in self.inputs],
            "output": self.output.to_dict(),
            "size_multiple": self.size_multiple,
            "min_size": self.min_size,
            "train_size": list(self.train_size),
            "fixed_size": list(self.fixed_size) if self.fixed_size else None,
            "norm_stats": self.norm_stats,
            "direction": self.direction,
            "source_sha256": self.source_sha256,
            "created_with": self.created_with,
            "required_features": list(self.required_features),
        }

    def to_json(self) -> str:
        """One line of JSON with sorted keys, so that equal specs give equal bytes."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read what ``to_json`` wrote.

        Raises:
            SpecError: the text is no ModelSpec, is of an unknown major schema, or requires a feature that this
                version does not have.
        """
        try:
            data = json.loads(text, parse_constant=_number, parse_float=_number)
        except (ValueError, RecursionError) as exc:
            raise SpecError(f"The ModelSpec is not JSON: {exc}.") from exc
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> ModelSpec:
        """Read what ``to_dict`` gave; see ``from_json`` for what is refused."""
        if not isinstance(data, dict):
            raise SpecError(f"A ModelSpec is a JSON object, got {type(data).__name__}.")
        _check_schema(data)
        known = set(cls.__dataclass_fields__) - {"extra"}
        values = {key: value for key, value in data.items() if key in known}
        values["extra"] = {key: value for key, value in data.items() if key not in known}
        features = _strings("required_features", data.get("required_features", []))
        if unknown := [feature for feature in features if feature not in KNOWN_FEATURES]:
            raise SpecError(
                f"This model requires {', '.join(unknown)}, which this version of p2p-deploy does not know. "
                "Update it with: pip install -U p2p-deploy"
            )
        values["required_features"] = tuple(features)
        try:
            values["inputs"] = tuple(ImageSpec.from_dict(image) for image in data["inputs"])
            values["output"] = ImageSpec.from_dict(data["output"])
            values["arch_kwargs"] = dict(data["arch_kwargs"])
            values["train_size"] = tuple(data["train_size"])
            values["fixed_size"] = tuple(data["fixed_size"]) if data.get("fixed_size") else None
            for key in ("name", "arch"):
                if not isinstance(data[key], str):
                    raise SpecError(f"{key} must be a text, got {data[key]!r}.")
            return cls(**values)
        except KeyError as exc:
            raise SpecError(f"The ModelSpec lacks the key {exc}.") from exc
        except (TypeError, ValueError) as exc:
            raise SpecError(f"The ModelSpec cannot be read: {exc}.") from exc


def _number(text: str) -> float:
    """A number of JSON; ValueError for what Python reads beyond them, or as infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _check_schema(data: Mapping[str, Any]) -> None:
    schema = data.get("schema")
    major = str(schema).partition(".")[0]
    if major != SCHEMA.partition(".")[0]:
        raise SpecError(
            f"The ModelSpec has schema {schema!r}, this version reads {SCHEMA.partition('.')[0]}.x. "
            "Update p2p-deploy, or export the checkpoint again with this version."
        )


def _strings(label: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SpecError(f"{label} must be a list of texts, got {value!r}.")
    return value
