"""Sound that the output's container does not take as it is, such as WMA: decoded, and encoded again without loss."""

from __future__ import annotations

import contextlib
from typing import Any

import av

from p2p_deploy.media.video.ffmpeg import FFMPEG_ERRORS

_SAMPLES = 4608  # of a frame of FLAC


class RecodedSound:
    """One stream of sound as FLAC, in ``output``."""

    def __init__(self, stream: Any, output: Any) -> None:
        context = stream.codec_context
        deep = context.format.name.startswith("s32")
        self.target = output.add_stream("flac", rate=context.sample_rate, layout=context.layout.name)
        self.target.codec_context.format = "s32" if deep else "s16"
        self._resampler = av.AudioResampler(
            format=self.target.codec_context.format,
            layout=context.layout.name,
            rate=context.sample_rate,
            frame_size=_SAMPLES,
        )

    def packets(self, packet: Any) -> list[Any]:
        """What becomes of a packet, or, for None, of what is left. One that is damaged is silent."""
        frames: list[Any] = [None]
        if packet is not None:
            frames = []
            with contextlib.suppress(*FFMPEG_ERRORS):
                frames = packet.decode()
        pieces = [piece for frame in frames for piece in self._resampler.resample(frame)]
        encoded = [out for piece in pieces for out in self.target.encode(piece)]
        return encoded + self.target.encode(None) if packet is None else encoded
