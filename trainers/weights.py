"""Weights of networks that others trained, from files that are untrusted input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from p2p_deploy.checkpoints.reading import is_plain, read_file
from p2p_deploy.errors import DataError

_N = TypeVar("_N", bound=nn.Module)


def read_weights(path: Path, make: Callable[[int], _N], what: str, hint: str = "") -> _N:
    """A network with the weights of a file, which has them by name; more may be in it.

    Args:
        path: of the file.
        make: the network whose first convolution is so wide.
        what: is expected, for the sentence when it is something else.
        hint: how to get such a file.

    Raises:
        CheckpointError: the file is missing, damaged or holds more than weights.
        DataError: it holds others.
    """
    contents = read_file(path)
    weights: Mapping[str, Any] = contents if isinstance(contents, Mapping) else {}
    with torch.device("meta"):
        expected = make(1).state_dict()
    first: Any = weights.get(next(iter(expected)))
    width = len(first) if is_plain(first) and first.ndim else 1
    with torch.device("meta"):
        expected = make(width).state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):  # old files lack it, and nothing here needs it
            continue
        found: Any = weights.get(key)
        shape = tuple(found.shape) if is_plain(found) else None
        if shape != value.shape:
            wrong = f"has the shape {shape} instead of {tuple(value.shape)}" if shape is not None else "is missing"
            raise DataError(f"{path} holds no weights of {what}: {key} {wrong}.{hint}")
    network = make(width)
    network.load_state_dict({key: weights[key] for key in expected if key in weights}, strict=False)
    return network
