"""``NAME.plan.json``: what a TensorRT plan is, beside a plan that stays exactly as the builder wrote it.

The plan carries no header of ours, so ``trtexec`` and Triton still load it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p_deploy.errors import ModelFileError, SpecError
from p2p_deploy.files import replacing
from p2p_deploy.reports import plain
from p2p_deploy.spec.model import ModelSpec

SCHEMA = "1.0"
FLAVOURS = ("tensorrt", "rtx")
HARDWARE = ("none", "ampere-plus", "same-cc")
# A release such as 11.4.0.106 or 10.14.1.48.post1; short, because its parts are read as numbers.
_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}([.+-]?[A-Za-z][A-Za-z0-9]{0,11})?")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_MAX_NAME_BYTES = 255  # what file systems take


@dataclass(frozen=True)
class Profile:
    """The shapes one optimisation profile allows: (min, opt, max) of batch size, height and width in pixels."""

    batch: tuple[int, int, int]
    height: tuple[int, int, int]
    width: tuple[int, int, int]

    def admits(self, batch: int, height: int, width: int) -> bool:
        """Whether a batch of frames of this size is within the profile."""
        asked = ((self.batch, batch), (self.height, height), (self.width, width))
        return all(low <= value <= high for (low, _, high), value in asked)

    @classmethod
    def from_dict(cls, data: Any) -> Profile:
        """Read the JSON of a profile; raises KeyError, TypeError or ValueError for anything else."""
        ranges = {name: tuple(data[name]) for name in ("batch", "height", "width")}
        for name, values in ranges.items():
            if len(values) != 3 or not all(isinstance(value, int) for value in values) or sorted(values) != [*values]:
                raise ValueError(f"{name} of a profile is {values!r}")
        return cls(**ranges)

    def __str__(self) -> str:
        size = [f"{height}x{width}" for height, width in zip(self.height, self.width, strict=True)]
        sizes = f"{size[0]} to {size[2]}, tuned for {size[1]}" if size[0] != size[2] else size[0]
        return f"batch {self.batch[0]} to {self.batch[2]}, tuned for {self.batch[1]}, at {sizes}"


def fixed_sizes(profiles: tuple[Profile, ...]) -> tuple[int, int, int]:
    """Batch size, height and width, each where it is the same in every shape of every profile; -1 where it varies."""
    ranges = ({size for profile in profiles for size in getattr(profile, name)} for name in Profile.__annotations__)
    batch, height, width = (sizes.pop() if len(sizes) == 1 else -1 for sizes in ranges)
    return batch, height, width


@dataclass(frozen=True)
class PlanSidecar:
    """Everything about a plan that its bytes do not tell without a GPU.

    Attributes:
        spec: the model.
        plan_sha256: SHA-256 of the plan file; a plan that does not match is refused.
        plan_bytes: size of the plan file.
        flavour: ``tensorrt`` or ``rtx`` (TensorRT for RTX); a plan runs only under its own.
        flavour_version: full version of the builder.
        platform: operating system and machine it was built on, e.g. ``linux-x86_64``.
        gpu: name and compute capability of the GPU it was built on; of an ahead-of-time build, its targets in words.
        compute_capabilities: those it was built for, such as ``8.9``.
        profiles: its optimisation profiles, in the builder's order.
        version_compatible: whether it carries host code so that later versions can run it.
        hardware_compatible: ``none``, ``ampere-plus`` or ``same-cc``.
        precision: what the parsed network computes in, see ``export.engine.PrecisionReport``.
        source_onnx: name of the ONNX file it was built from, beside it.
        source_onnx_sha256: SHA-256 of that file.
        quality: how the source ONNX compared with the checkpoint.
        executed: whether the plan itself was run when it was made.
        targets: what an ahead-of-time build was asked to build for, such as ``sm89``; empty for the builder's default.
    """

    spec: ModelSpec
    plan_sha256: str
    plan_bytes: int
    flavour: str
    flavour_version: str
    platform: str
    gpu: str
    compute_capabilities: tuple[str, ...]
    profiles: tuple[Profile, ...]
    version_compatible: bool
    hardware_compatible: str
    precision: Mapping[str, Any]
    source_onnx: str
    source_onnx_sha256: str
    quality: Mapping[str, Any]
    executed: bool = False
    targets: tuple[str, ...] = ()
    schema: str = SCHEMA

    @property
    def carries_code(self) -> bool:
        """Whether there is code for the CPU in the plan. TensorRT for RTX has none that it could put there."""
        return self.version_compatible and self.flavour == "tensorrt"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**plain(self), "spec": self.spec.to_dict()}

    def save(self, plan: Path) -> None:
        """Write the sidecar of ``plan``."""
        with replacing(sidecar_path(plan)) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sidecar_path(plan: Path) -> Path:
    """``x.plan`` to ``x.plan.json``."""
    return plan.with_name(plan.name + ".json")


def _from_dict(data: dict[str, Any]) -> PlanSidecar:
    """Read what ``to_dict`` gave; raises KeyError, TypeError, ValueError or SpecError for anything else."""
    types = {
        **dict.fromkeys(("precision", "quality", "spec"), dict),
        **dict.fromkeys(("executed", "version_compatible"), bool),
        **dict.fromkeys(("profiles", "compute_capabilities", "targets"), list),
        "plan_bytes": int,
    }
    values = {key: data[key] for key in PlanSidecar.__dataclass_fields__}
    for key, value in values.items():
        if not isinstance(value, types.get(key, str)):
            raise TypeError(f"{key} is {value!r}")
    _check_texts(values)
    if not values["profiles"]:
        raise ValueError("profiles is empty")
    for key, known in (("flavour", FLAVOURS), ("hardware_compatible", HARDWARE)):
        if values[key] not in known:
            raise ValueError(f"{key} is {values[key]!r}, not one of {', '.join(known)}")
    return PlanSidecar(
        **{
            **values,
            "spec": ModelSpec.from_dict(values["spec"]),
            "profiles": tuple(Profile.from_dict(profile) for profile in values["profiles"]),
            "compute_capabilities": tuple(str(capability) for capability in values["compute_capabilities"]),
            "targets": tuple(str(target) for target in values["targets"]),
        }
    )


def _check_texts(values: Mapping[str, str]) -> None:
    """Raise ValueError for a malformed version, hash or file name, because they are used without further checks."""
    if not _VERSION.fullmatch(values["flavour_version"]):
        raise ValueError(f"flavour_version is {values['flavour_version'][:80]!r}, not a version such as 11.4.0.106")
    for key in ("plan_sha256", "source_onnx_sha256"):
        if not _SHA256.fullmatch(values[key]):
            raise ValueError(f"{key} is {values[key][:80]!r}, not 64 hexadecimal digits")
    name = values["source_onnx"]
    plain = Path(name).name == name and "\0" not in name and name not in ("", "..")
    if not plain or len(os.fsencode(name)) > _MAX_NAME_BYTES:
        raise ValueError(f"source_onnx is {name[:80]!r}, not the name of a file beside the plan")


def read_sidecar(plan: Path) -> PlanSidecar:
    """Read the sidecar of ``plan``.

    Raises:
        ModelFileError: the plan or its sidecar is missing or cannot be read.
    """
    path = sidecar_path(plan)
    if not plan.is_file():
        raise ModelFileError(f"{plan} does not exist, or is not a file.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if str(data["schema"]).partition(".")[0] != SCHEMA.partition(".")[0]:
            raise ModelFileError(
                f"{path} has schema {data['schema']!r}; this version reads {SCHEMA}. Update p2p-deploy."
            )
        return _from_dict(data)
    except FileNotFoundError as exc:
        raise ModelFileError(
            f"{plan} has no sidecar {path.name} beside it, so nothing says which TensorRT it needs or which pixels it "
            "wants. Copy the sidecar along with the plan, or export both again, with `trt=True`."
        ) from exc
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SpecError) as exc:
        raise ModelFileError(
            f"{path} is not the sidecar of a plan ({type(exc).__name__}: {exc}). Export both again, with `trt=True`."
        ) from exc
