"""Files of other programs: weights without a word about what they are, from their keys to a generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from p2p_deploy import __version__
from p2p_deploy.checkpoints.detection import Detection
from p2p_deploy.checkpoints.families import recognise
from p2p_deploy.checkpoints.native import Checkpoint, with_weights
from p2p_deploy.checkpoints.reading import fold_spectral_norm, state_dict_of
from p2p_deploy.errors import CheckpointError, P2PError
from p2p_deploy.generators import build_generator
from p2p_deploy.options import Assumptions
from p2p_deploy.spec import ModelSpec


def open_foreign(path: Path, contents: Any, assume: Assumptions) -> Checkpoint:
    """Recognise the network that some weights are of, and load them into ours.

    Raises:
        CheckpointError: they are no generator of a family we know, keys or shapes do not fit, or what the user says
            contradicts them.
    """
    try:
        weights, part = state_dict_of(contents, assume.part)
        found, weights = recognise(fold_spectral_norm(weights), replace(assume, part=part))
        _check_asked(found, assume)
        found, generator = _with_encoded(found, _generator(found, weights), assume.encoded)
        spec = _spec(path, found, generator)
    except P2PError as exc:
        raise CheckpointError(f"{path}: {exc}" if _is_sentence_of_its_own(exc) else f"{path} {exc}") from exc
    height, width = spec.working_size
    assumed = [*found.assumed, "pixels are -1 to 1 inside the network, as in the published programs"]
    if not spec.fixed_size:
        assumed.append(f"it was trained at {height}x{width} pixels, the published size; export for others with `sizes`")
    return Checkpoint(
        spec=spec, generator=generator, family=found.family, inferred=found.inferred, assumed=tuple(assumed)
    )


def _check_asked(found: Detection, assume: Assumptions) -> None:
    for name in ("labels", "edges", "features", "upsampling"):
        if getattr(assume, name) is not None and name not in found.asks:
            raise CheckpointError(f"`{name}` makes no difference to {found.family}; leave it out.")


def _is_sentence_of_its_own(exc: P2PError) -> bool:
    return not str(exc).startswith(("holds ", "has no part ", "is ", "seems ", "looks "))


def _generator(found: Detection, weights: Mapping[str, Tensor]) -> nn.Module:
    renamed = {ours: weights[theirs] for theirs, ours in found.layers.renamed.items()}
    for key in [key for key in renamed if key.endswith("running_mean")]:  # counted by torch since 0.4.1, of no use here
        renamed.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    if found.arch_kwargs.get("z_dim"):
        renamed["z"] = torch.zeros(found.arch_kwargs["z_dim"])
    _check_shapes(found, renamed)
    return with_weights(found.arch, found.arch_kwargs, renamed)


def _check_shapes(found: Detection, weights: Mapping[str, Tensor]) -> None:
    """Say what does not fit in the words of the file; torch would name our keys."""
    with torch.device("meta"):
        expected = build_generator(found.arch, found.arch_kwargs).state_dict()
    problems = []
    for key, value in expected.items():
        if key not in weights:
            problems.append(f"{found.layers.theirs(key)} is missing")
        elif weights[key].shape != value.shape:
            shapes = tuple(weights[key].shape), tuple(value.shape)
            problems.append(f"{found.layers.theirs(key)} has the shape {shapes[0]} instead of {shapes[1]}")
    problems += [f"{found.layers.theirs(key)} is left over" for key in weights if key not in expected]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"looks like {found.family} ({'; '.join(found.inferred)}), but {', '.join(problems[:3])}{more}. The "
            "file is damaged, or of a fork."
        )


def _with_encoded(found: Detection, generator: nn.Module, file: Path | None) -> tuple[Detection, nn.Module]:
    """Put in what an encoder would give."""
    z_dim, features = found.arch_kwargs.get("z_dim", 0), found.features
    if not z_dim and not features:
        if file:
            raise CheckpointError("this network takes nothing from an encoder; leave out `encoded`.")
        return found, generator
    if z_dim:
        if file:
            generator.z = torch.from_numpy(_read_numbers(file, [(z_dim,)]))
        return found, generator
    classes = found.inputs[0].classes or 0
    table = np.zeros((classes, features), np.float32)
    if file:
        table[...] = _read_numbers(file, [(features,), (classes, features)])
    kwargs = {**found.arch_kwargs, "generator": found.arch, "classes": classes, "features": features}
    kwargs["in_channels"] -= features
    weights = {f"generator.{key}": value for key, value in generator.state_dict().items()}
    weights["lookup.weight"] = torch.from_numpy(table.T[:, :, None, None].copy())
    return replace(found, arch="featured", arch_kwargs=kwargs), with_weights("featured", kwargs, weights)


def _read_numbers(file: Path, shapes: list[tuple[int, ...]]) -> np.ndarray:
    expected = " or ".join(map(str, shapes))
    try:
        numbers: np.ndarray = np.load(file, allow_pickle=False)
    except OSError as exc:
        raise CheckpointError(f"{file} cannot be read: {exc.strerror or exc}.") from exc
    except Exception as exc:  # whatever NumPy meets in another kind of file
        raise CheckpointError(f"{file} is not a .npy file of numbers; expected one of the shape {expected}.") from exc
    usable = isinstance(numbers, np.ndarray) and numbers.dtype.kind in "fiu" and numbers.shape in shapes
    if usable:
        with np.errstate(over="ignore"):
            numbers = numbers.astype(np.float32)
    if not usable or not np.isfinite(numbers).all():
        received = f"{getattr(numbers, 'dtype', type(numbers).__name__)} of shape {getattr(numbers, 'shape', '-')}"
        raise CheckpointError(f"{file} holds {received}; expected finite numbers of the shape {expected}.")
    return numbers


def _spec(path: Path, found: Detection, generator: Any) -> ModelSpec:
    return ModelSpec(
        name=path.stem,
        arch=found.arch,
        arch_kwargs=found.arch_kwargs,
        inputs=found.inputs,
        output=found.output,
        size_multiple=generator.size_multiple,
        min_size=generator.min_size,
        train_size=found.train_size,
        fixed_size=getattr(generator, "fixed_size", None),
        created_with=f"p2p-deploy {__version__}",
    )
