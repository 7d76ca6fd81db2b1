"""What networks that draw pictures are given: latent vectors from N(0, 1), and classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_deploy.errors import InputError
from p2p_deploy.spec import ModelSpec


def draw(spec: ModelSpec, seed: int, batch: int, label: int | None = None) -> Iterator[tuple[NDArray[Any], ...]]:
    """Endless batches of inputs: latent vectors (batch, Z) float32 and, where wanted, classes (batch, 1) int32.

    The numbers of a picture depend on ``seed`` and on which one it is, and not on ``batch``.

    Args:
        spec: of a network that takes a latent vector.
        seed: of the random numbers.
        batch: pictures at once.
        label: the class of all of them; None takes all classes in turn.
    """
    random = np.random.default_rng(seed)
    for first in itertools.count(0, batch):
        latents = random.standard_normal((batch, spec.input.channels), dtype=np.float32)
        if len(spec.inputs) == 1:
            yield (latents,)
            continue
        turns = np.arange(first, first + batch) % (spec.inputs[1].classes or 1)
        numbers = turns if label is None else np.full(batch, label)
        yield latents, numbers.astype(np.int32)[:, None]


def refuse_pictures(spec: ModelSpec) -> None:
    """Raise InputError for a network that has no use for pictures."""
    if spec.input.is_vector:
        raise InputError(
            f"{spec.name} draws pictures from latent vectors and takes none, so there is nothing to run it on. Draw "
            "some with: p2p sample MODEL OUT"
        )
