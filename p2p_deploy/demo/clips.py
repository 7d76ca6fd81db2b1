"""What must be equal between a clip and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av


@dataclass(frozen=True)
class ClipFacts:
    """Counted by decoding, not taken from the header.

    Attributes:
        frames: decoded video frames.
        seconds: from time 0 to the end of the last frame.
        audio_packets: number of packets of all audio streams.
    """

    frames: int
    seconds: float
    audio_packets: int

    def __str__(self) -> str:
        return f"{self.frames} frames, {self.seconds:.3f} s, {self.audio_packets} packets of sound"


def clip_facts(path: Path) -> ClipFacts:
    """Decode the first video stream and count; raises PyAV's errors for a file it cannot read."""
    frames, end, packets = 0, Fraction(0), 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames += 1
            end = max(end, (frame.pts + frame.duration) * frame.time_base)
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio) if container.streams.audio else ():
            packets += packet.dts is not None
    return ClipFacts(frames, float(end), packets)
