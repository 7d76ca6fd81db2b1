"""How a run goes about its work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2p_deploy.media import ReadOptions, WriteOptions
from p2p_deploy.runner.fitting import Fit


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes about its work; see ``run``."""

    batch: int | None = None
    workers: int | None = None
    fit: Fit = "auto"
    fail_fast: bool = False
    read: ReadOptions = field(default_factory=ReadOptions)
    write: WriteOptions = field(default_factory=WriteOptions)
    instances: Path | None = None

    def __post_init__(self) -> None:
        for name, value in (("batch", self.batch), ("workers", self.workers)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
