"""What a run tells about itself: while it goes on, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from p2p_deploy.reports import Report


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


class Execution(NamedTuple):
    """How the work was done; see ``RunSummary``."""

    interrupted: bool
    seconds: float
    devices: tuple[str, ...]
    infer_seconds: tuple[float, ...]
    batch: int
    workers: int
    codec_seconds: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class RunSummary(Report):
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
    inputs_total: int
    done: int
    skipped: int
    partial: int
    failed: int
    interrupted: bool
    frames: int
    seconds: float
    notes: Mapping[str, int]
    ignored: int
    errors: tuple[tuple[str, str], ...]
    record: str | None
    devices: tuple[str, ...]
    infer_seconds: tuple[float, ...]
    batch: int
    workers: int
    codec_seconds: Mapping[str, Mapping[str, float]]

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
        return {**super().to_dict(), "frames_per_second": self.frames_per_second}
