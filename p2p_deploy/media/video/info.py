"""What the header of a video says, and whether the whole of it arrived."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.video.reformatter import Colorspace

from p2p_deploy.media.video.colour import MATRICES, usual_matrix

_BT709, _BT601, _UNSPECIFIED = 1, 6, 2  # AVCOL_SPC
_JUMP = 1  # seconds; what runs back by less is disorder, by more a new clock


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the output must have in common with its source.

    Attributes:
        size: (height, width) as stored, before any rotation.
        depth: bits a channel.
        time_base: seconds per time-stamp unit.
        origin: the time in seconds that frames are counted from. Transport and programme streams are cut out of a
            broadcast, whose clock may stand anywhere.
        rate: average frames per second.
        tags: AVCOL numbers of (matrix, range, primaries, transfer) for the output.
        matrix: the colour matrix to convert with: the tagged one, else BT.709 from 720 lines up and BT.601 below.
        sample_aspect_ratio: width of a pixel over its height, or None for square.
    """

    size: tuple[int, int]
    depth: int
    time_base: Fraction
    origin: Fraction
    rate: Fraction
    tags: tuple[int, int, int, int]
    matrix: Colorspace
    sample_aspect_ratio: Fraction | None


def video_info(stream: Any) -> VideoInfo:
    """The header of one video stream."""
    context = stream.codec_context
    matrix_tag = int(context.colorspace)
    matrix = MATRICES.get(matrix_tag, usual_matrix(context.height))
    if matrix_tag not in MATRICES and matrix_tag != _UNSPECIFIED:  # RGB, YCgCo: what is written is neither
        matrix_tag = _BT709 if matrix == Colorspace.ITU709 else _BT601
    return VideoInfo(
        size=(context.height, context.width),
        depth=max((component.bits for component in stream.format.components), default=8) if stream.format else 8,
        time_base=stream.time_base,
        origin=_origin(stream.container),
        rate=stream.average_rate or stream.guessed_rate or Fraction(25),
        tags=(matrix_tag, int(context.color_range), int(context.color_primaries), int(context.color_trc)),
        matrix=matrix,
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
    )


def _origin(container: Any) -> Fraction:
    if container.format.name not in ("mpegts", "mpeg"):
        return Fraction(0)
    starts = [
        stream.start_time * stream.time_base
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None
    ]
    return min(starts, default=Fraction(0))


def promised_end(stream: Any) -> Fraction | None:
    """When the last frame should end, in seconds, as far as the header tells."""
    tag = stream.metadata.get("DURATION")  # Matroska: HH:MM:SS.fraction
    if tag:
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    duration = stream.duration
    if "matroska" in stream.container.format.name:  # FFmpeg may have copied it from the container, sound included
        duration = None
    elif stream.container.format.name == "avi":  # without its index, at the end, FFmpeg guesses from the file's size
        duration = max(duration or 0, stream.frames)
    if duration:
        end: Fraction = ((stream.start_time or 0) + duration) * stream.time_base
        return end
    container = stream.container
    if container.duration and not container.streams.audio:
        return Fraction(container.duration, av.time_base)
    return None


class Clock:
    """Makes time stamps rise, whatever a damaged file, or several joined to one, say.

    Args:
        time_base: seconds per unit.
        origin: where they are counted from, in seconds.
        apart: by how much they must rise at least.

    Attributes:
        corrected: whether any had to be changed.
        end: when what was shown last is over.
    """

    def __init__(self, time_base: Fraction, origin: Fraction, apart: int = 1) -> None:
        self.corrected = False
        self.end = 0
        self._time_base = time_base
        self._apart = apart
        self._offset = -round(origin / time_base)
        self._jump = _JUMP / time_base
        self._last: int | None = None

    def seconds(self, stamp: int) -> Fraction:
        """A time stamp as seconds from the origin."""
        return (stamp + self._offset) * self._time_base

    def place(self, stamp: int | None, duration: int) -> int:
        """Where something that is shown for ``duration`` goes: after the one before; None is right after it."""
        if stamp is None:
            placed = self.end
        else:
            placed = stamp + self._offset
            if self._last is not None and placed < self._last + self._apart:
                self.corrected = True
                if self._last - placed > self._jump:
                    self._offset = self.end - stamp  # goes on where the first clock stopped
                    placed = self.end
                else:
                    placed = self._last + self._apart
        self._last = placed
        self.end = placed + max(duration, 1)
        return placed
