"""The checkpoint our trainers write: weights with their ModelSpec.

A ``torch.save`` file of a dict with four keys: ``format`` (a marker), ``spec`` (ModelSpec as JSON), ``generator``
(state dict) and ``training`` (JSON of plain values). Only tensors, texts and numbers, so ``weights_only`` loads it.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from p2p_deploy.errors import CheckpointError, OutputError, P2PError, SpecError
from p2p_deploy.files import replacing
from p2p_deploy.generators import build_generator
from p2p_deploy.spec import ModelSpec

FORMAT = "p2p-deploy checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A generator with its weights, in eval mode on the CPU in float32, and what is known about it."""

    spec: ModelSpec
    generator: nn.Module
    training: Mapping[str, Any]


def save_checkpoint(path: Path, spec: ModelSpec, generator: nn.Module, training: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file to write or replace.
        spec: what the generator is.
        generator: the network ``spec.arch`` names; its weights are saved from whatever device they are on.
        training: JSON values worth keeping: steps, options, losses.

    Raises:
        OutputError: the file cannot be written.
    """
    weights = {key: value.detach().cpu() for key, value in generator.state_dict().items()}
    contents = {"format": FORMAT, "spec": spec.to_json(), "generator": weights, "training": json.dumps(training)}
    with replacing(path) as temporary:
        try:
            torch.save(contents, temporary)
        except RuntimeError as exc:  # torch's writer says nothing of the disk's reason
            raise OutputError(f"{path} cannot be written; the disk may be full ({_first_line(exc)}).") from exc


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing anything from it.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, holds pickled objects, or its weights do not
            fit the network it names.
        SpecError: its ModelSpec cannot be read.
    """
    contents = _read(path)
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise CheckpointError(f"{path} {_describe(contents)}; expected a checkpoint written by p2p train.")
    try:
        spec = ModelSpec.from_json(contents["spec"])
        training = json.loads(contents["training"], parse_constant=lambda name: None)  # NaN is no JSON
        weights = contents["generator"]
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is an incomplete p2p-deploy checkpoint ({exc!r}); train it again.") from exc
    if not isinstance(training, dict):
        raise CheckpointError(f"{path} is altered: its training record is no JSON object; train it again.")
    return Checkpoint(spec, _with_weights(path, spec, weights), training)


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks about the pickle protocol of files that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} does not exist.") from exc
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except pickle.UnpicklingError as exc:
        raise CheckpointError(
            f"{path} holds pickled Python objects, or is no PyTorch file. Unpickling them could run any code, so it "
            "was refused and nothing was executed; expected a checkpoint written by p2p train."
        ) from exc
    except Exception as exc:  # torch raises whatever its readers meet in a damaged file
        raise CheckpointError(
            f"{path} is damaged or is not a checkpoint ({_first_line(exc)}). Copy or train it again."
        ) from exc


def _first_line(exc: Exception) -> str:
    """What torch says, without its advice to unpickle anyway."""
    line = str(exc).partition("\n")[0].partition("Re-running")[0].strip()
    return line or type(exc).__name__


def _describe(contents: Any) -> str:
    if isinstance(contents, dict) and any(isinstance(value, torch.Tensor) for value in contents.values()):
        return f"is a state dict of another program (first key {next(iter(contents))!r})"
    if isinstance(contents, dict):
        keys = ", ".join(sorted(str(key) for key in contents)[:5])
        return f"is a PyTorch file of another program (keys: {keys or 'none'})"
    return f"holds a {type(contents).__name__}"


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_complex()
        and not value.is_quantized
    )


def _with_weights(path: Path, spec: ModelSpec, weights: Any) -> nn.Module:
    """Build the network without memory, then take the tensors over, so that a lying spec cannot ask for terabytes."""
    unusable = [name for name, value in weights.items() if not _is_plain(value)] if isinstance(weights, dict) else []
    if unusable:
        raise CheckpointError(f"{path}: {unusable[0]} is not a plain tensor of real numbers; train it again.")
    try:
        with torch.device("meta"):
            generator = build_generator(spec.arch, spec.arch_kwargs)
        generator.load_state_dict(weights, strict=True, assign=True)
    except P2PError as exc:
        raise SpecError(f"{path}: {exc}") from exc
    except Exception as exc:  # a wrong key, shape or type, each with torch's own words
        reason = " ".join(str(exc).split())[:400]
        raise CheckpointError(f"{path}: the weights do not fit {spec.arch} {dict(spec.arch_kwargs)}: {reason}") from exc
    return generator.float().eval().requires_grad_(False)
