"""How long, and in which batches, a model is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from p2p_deploy.options.declaration import Option, Options


@dataclass(frozen=True, kw_only=True)
class BenchOptions(Options):
    """How long, and in which batches, a model is measured."""

    batch: Annotated[tuple[int, ...], Option("Batch size; repeatable. Default: 1, 4 and 8.", low=1)] = (1, 4, 8)
    warmup_ms: Annotated[float, Option("Untimed running first, in milliseconds.", low=0)] = 500
    duration_s: Annotated[float, Option("Timed running for each batch size, in seconds.", low=0)] = 3
