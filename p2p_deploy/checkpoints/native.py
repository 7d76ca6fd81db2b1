"""The checkpoint our trainers write: weights with their ModelSpec.

A ``torch.save`` file of a dict with four keys: ``format`` (a marker), ``spec`` (ModelSpec as JSON), ``generator``
(state dict) and ``training`` (JSON of plain values); and, of a training that can go on, ``state``: whatever its trainer
needs for that. Only tensors, texts and numbers, so ``weights_only`` loads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from p2p_deploy.checkpoints.reading import first_line, is_plain
from p2p_deploy.errors import CheckpointError, OutputError, P2PError
from p2p_deploy.files import replacing
from p2p_deploy.generators import build_generator
from p2p_deploy.spec import ModelSpec

FORMAT = "p2p-deploy checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A generator with its weights, in eval mode on the CPU in float32, and what is known about it.

    Attributes:
        spec: what the generator is.
        generator: the network.
        training: what our trainers noted: steps, options, losses.
        family: whose file it is, in words.
        inferred: what the keys of a foreign file told.
        assumed: what they did not tell, and what was taken instead.
    """

    spec: ModelSpec
    generator: nn.Module
    training: Mapping[str, Any] = field(default_factory=dict)
    family: str = "p2p-deploy"
    inferred: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def save_checkpoint(
    path: Path,
    spec: ModelSpec,
    generator: nn.Module,
    training: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file to write or replace.
        spec: what the generator is.
        generator: the network ``spec.arch`` names; its weights are saved from whatever device they are on.
        training: JSON values worth keeping: steps, options, losses.
        state: what the training goes on from: tensors, texts and numbers.

    Raises:
        OutputError: the file cannot be written.
    """
    weights = {key: value.detach().cpu() for key, value in generator.state_dict().items()}
    contents = {"format": FORMAT, "spec": spec.to_json(), "generator": weights, "training": json.dumps(training)}
    if state is not None:
        contents["state"] = dict(state)
    with replacing(path) as temporary:
        try:
            torch.save(contents, temporary)
        except RuntimeError as exc:  # torch's writer says nothing of the disk's reason
            raise OutputError(f"{path} cannot be written; the disk may be full ({first_line(exc)}).") from exc


def is_native(contents: Any) -> bool:
    """Whether this is what ``save_checkpoint`` wrote."""
    return isinstance(contents, dict) and contents.get("format") == FORMAT


def open_native(path: Path, contents: Mapping[str, Any]) -> Checkpoint:
    """Read our own checkpoint.

    Raises:
        CheckpointError: it is incomplete or was altered, or its weights do not fit the network it names.
        SpecError: its ModelSpec cannot be read.
    """
    training = read_training(path, contents)
    try:
        spec = ModelSpec.from_json(contents["spec"])
        weights = contents["generator"]
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is an incomplete p2p-deploy checkpoint ({exc!r}); train it again.") from exc
    return Checkpoint(spec, _with_weights(path, spec, weights), training)


def read_training(path: Path, contents: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer noted in its checkpoint.

    Raises:
        CheckpointError: it is incomplete or was altered.
    """
    try:
        training = json.loads(contents["training"], parse_constant=lambda name: None)  # NaN is no JSON
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is an incomplete p2p-deploy checkpoint ({exc!r}); train it again.") from exc
    if not isinstance(training, dict):
        raise CheckpointError(f"{path} is altered: its training record is no JSON object; train it again.")
    return training


def _with_weights(path: Path, spec: ModelSpec, weights: Any) -> nn.Module:
    unusable = [name for name, value in weights.items() if not is_plain(value)] if isinstance(weights, dict) else []
    if unusable:
        raise CheckpointError(f"{path}: {unusable[0]} is not a plain tensor of real numbers; train it again.")
    try:
        return with_weights(spec.arch, spec.arch_kwargs, weights)
    except P2PError as exc:
        raise type(exc)(f"{path}: {exc}") from exc


def with_weights(arch: str, arch_kwargs: Mapping[str, Any], weights: Any) -> nn.Module:
    """Build a network without memory, then take tensors over, so that a lying file cannot ask for terabytes.

    Returns:
        The network in eval mode, float32, without gradients.

    Raises:
        SpecError: there is no such network.
        CheckpointError: the weights do not fit it.
    """
    with torch.device("meta"):
        generator = build_generator(arch, arch_kwargs)
    try:
        generator.load_state_dict(weights, strict=True, assign=True)
    except Exception as exc:  # a wrong key, shape or type, each with torch's own words
        reason = " ".join(str(exc).split())[:400]
        raise CheckpointError(f"the weights do not fit {arch} {dict(arch_kwargs)}: {reason}") from exc
    return generator.float().eval().requires_grad_(False)
