"""What a run tells about itself: while it goes on, and when it is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has come.

    Attributes:
        inputs: files that are finished, well or not.
        inputs_total: files there are.
        failed: files that failed or are incomplete.
        frames: images and video frames written.
        frames_expected: how many there will be, as far as the headers that were read so far tell.
    """

    inputs: int
    inputs_total: int
    failed: int
    frames: int
    frames_expected: int


@dataclass(slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        model_size: (height, width) frames were fitted to, pixels.
        inputs_total: files there were to do.
        done: inputs whose output is complete.
        skipped: inputs that an earlier run had done.
        partial: inputs that end early; their output holds every frame that could be read.
        failed: inputs without an output.
        interrupted: True when the run was stopped before the last input.
        frames: images and video frames written.
        seconds: wall time from the first read to the last rename.
        notes: how many inputs each conversion happened to, e.g. ``resized to 256x256 and back``.
        ignored: files of other kinds that were passed over.
        errors: (name of the input, sentence) for the first hundred that are partial or failed; the record has all.
        record: path of the record file, or None.
        devices: where the network was computed.
        infer_seconds: of each device, how long it computed.
        batch: images computed at once, as asked or as found out.
        workers: threads that decoded and encoded images.
        codec_seconds: of all threads together, for images and for each way of a video, seconds of decoding and
            encoding; where the network has the cores first, without the waiting for one.
    """

    model_size: tuple[int, int]
    inputs_total: int = 0
    done: int = 0
    skipped: int = 0
    partial: int = 0
    failed: int = 0
    interrupted: bool = False
    frames: int = 0
    seconds: float = 0.0
    notes: Counter[str] = field(default_factory=Counter)
    ignored: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    record: str | None = None
    devices: list[str] = field(default_factory=list)
    infer_seconds: list[float] = field(default_factory=list)
    batch: int = 0
    workers: int = 0
    codec_seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        """Frames written per second of wall time."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def complete(self) -> bool:
        """Whether every input has its whole output."""
        return self.done + self.skipped == self.inputs_total

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "notes": dict(self.notes), "frames_per_second": self.frames_per_second}
