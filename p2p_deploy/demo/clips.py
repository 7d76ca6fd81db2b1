"""What must be equal between a clip and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from p2p_deploy.pixels import Pixels


@dataclass(frozen=True)
class ClipFacts:
    """Counted by decoding, not taken from the header.

    Attributes:
        frames: decoded video frames.
        seconds: from time 0 to the end of the last frame.
        audio_packets: number of packets of all audio streams.
    """

    frames: int
    seconds: Fraction
    audio_packets: int


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
    return ClipFacts(frames, end, packets)


def middle_frame(path: Path) -> Pixels:
    """The frame half-way through, (H, W, 3) uint8 RGB, at most one key frame early."""
    with av.open(str(path)) as container:
        container.seek((container.duration or 0) // 2)
        rgb_HWC: Pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
        return rgb_HWC
