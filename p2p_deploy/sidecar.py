"""``NAME.plan.json``: what a TensorRT plan is, beside a plan that stays exactly as the builder wrote it.

The plan carries no header of ours, so ``trtexec --loadEngine`` and Triton still load it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from p2p_deploy.errors import ModelFileError, SpecError
from p2p_deploy.files import replacing
from p2p_deploy.spec import ModelSpec

SCHEMA = "1.0"


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
        gpu: name and compute capability of the GPU it was built on, or the targets of an ahead-of-time build.
        profile: (min, opt, max) batch sizes of its optimisation profile.
        precision: what the parsed network computes in, see ``export.engine.PrecisionReport``.
        source_onnx: name of the ONNX file it was built from, beside it.
        source_onnx_sha256: SHA-256 of that file.
        quality: how the source ONNX compared with the checkpoint.
        executed: whether the plan itself was run when it was made.
    """

    spec: ModelSpec
    plan_sha256: str
    plan_bytes: int
    flavour: str
    flavour_version: str
    platform: str
    gpu: str
    profile: tuple[int, int, int]
    precision: Mapping[str, Any]
    source_onnx: str
    source_onnx_sha256: str
    quality: Mapping[str, Any]
    executed: bool = False
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "spec": self.spec.to_dict(), "profile": list(self.profile)}

    def save(self, plan: Path) -> None:
        """Write the sidecar of ``plan``."""
        with replacing(sidecar_path(plan)) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sidecar_path(plan: Path) -> Path:
    """``x.plan`` to ``x.plan.json``."""
    return plan.with_name(plan.name + ".json")


def _from_dict(data: dict[str, Any]) -> PlanSidecar:
    """Read what ``to_dict`` gave; raises KeyError, TypeError, ValueError or SpecError for anything else."""
    types = {"plan_bytes": int, "precision": dict, "quality": dict, "executed": bool, "profile": list, "spec": dict}
    values = {key: data[key] for key in PlanSidecar.__dataclass_fields__}
    for key, value in values.items():
        if not isinstance(value, types.get(key, str)):
            raise TypeError(f"{key} is {value!r}")
    if not Path(values["source_onnx"]).name:
        raise ValueError("source_onnx names no file")
    profile = values["profile"]
    if len(profile) != 3 or not all(isinstance(batch, int) for batch in profile):
        raise ValueError(f"profile is {profile!r}")
    return PlanSidecar(**{**values, "spec": ModelSpec.from_dict(values["spec"]), "profile": tuple(profile)})


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
            "wants. Copy the sidecar along with the plan, or make both again with: p2p export CKPT --trt"
        ) from exc
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SpecError) as exc:
        raise ModelFileError(
            f"{path} is not the sidecar of a plan ({type(exc).__name__}: {exc}). Make both again with: "
            "p2p export CKPT --trt"
        ) from exc
