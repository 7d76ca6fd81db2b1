"""Writing video through PyAV (FFmpeg): one frame out for each frame in, at its time stamp, with the source's sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.files import DISK_ERRORS, temporary_name, write_failure
from p2p_deploy.media.base import Frame, WriteOptions
from p2p_deploy.media.containers import CONTAINERS, Container
from p2p_deploy.media.video_source import EXACT, FFMPEG_ERRORS, OPEN_OPTIONS, VideoSource, reason, usual_matrix
from p2p_deploy.pixels import Pixels

# MPEG-4 counts in parts of a second no finer than this; DirectShow writes 10000000/333667 frames per second.
_FINEST = Fraction(1, 65535)
_NO_TAGS = (2, 0, 2, 2)  # AVCOL: unspecified matrix, range, primaries, transfer


class VideoSink:
    """One video file with the time stamps, colour tags and audio streams of ``source``.

    Audio packets are copied, not re-encoded, and interleaved as the frames are written.
    """

    def __init__(self, path: Path, source: VideoSource, options: WriteOptions = WriteOptions()) -> None:
        self.path = path
        self._source = source.path
        self._info = source.info
        self._container = CONTAINERS[path.suffix.lower()]
        self._matrix, self._tags = source.info.matrix, source.info.tags
        self._rate = source.info.rate
        if not self._container.time_stamps:
            self._rate = 1 / max((1 / self._rate).limit_denominator(_FINEST.denominator), _FINEST)
        self._durations: dict[int, int] = {}  # of frames that the encoder holds, by time stamp
        self._temporary = temporary_name(path)
        self._output: Any = None  # opened by the first frame, which knows the size
        self._stream: Any = None
        self._audio: Any = None
        self._turn = 0  # the first one free, in a container without time stamps

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Encode one frame; the first one fixes the size."""
        with self._translated():
            if self._output is None:
                self._open(*pixels_HWC.shape[:2])
            rgb = pixels_HWC if pixels_HWC.shape[2] == 3 else np.repeat(pixels_HWC, 3, axis=2)
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=self._stream.pix_fmt,
                dst_colorspace=self._matrix,
                src_color_range=ColorRange.JPEG,
                dst_color_range=self._tags[1] or ColorRange.MPEG,
                interpolation=EXACT,
                threads=1,
            )
            if self._container.time_stamps:
                picture.pts, picture.time_base, picture.duration = frame.pts, frame.time_base, frame.duration
                self._durations[frame.pts] = frame.duration
            else:
                turn = max(self._turn, round(frame.pts * frame.time_base * self._rate))
                picture.pts, picture.time_base, picture.duration = turn, 1 / self._rate, 1
                self._turn = turn + 1
            self._audio.copy_until(picture.pts * picture.time_base)
            self._output.mux(self._encode(picture))

    def _encode(self, picture: Any) -> list[Any]:
        """Packets; whatever the encoder says is not about the disk, EPERM included.

        Encoders give every packet the same duration; each gets back its frame's own, or a last picture that is shown
        for long would be gone at once.
        """
        try:
            packets = self._stream.encode(picture)
        except FFMPEG_ERRORS as exc:
            raise ItemFailed(f"{self.path} cannot be encoded ({reason(exc)}).") from exc
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
        return packets

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._output = av.open(str(self._temporary), "w", format=self._container.muxer)
        stream = self._output.add_stream(
            self._container.encoder, rate=self._rate, options=dict(self._container.options)
        )
        # 4:2:0 halves both sides; an odd one keeps every pixel only without subsampling, where the encoder can.
        even = height % 2 == 0 and width % 2 == 0
        stream.pix_fmt = "yuv420p" if even or self._container.encoder == "mpeg4" else "yuv444p"
        stream.width, stream.height = width, height
        context = stream.codec_context
        if self._container.time_stamps:
            context.time_base = stream.time_base = self._info.time_base
        if not self._container.colour_tags:
            self._matrix, self._tags = usual_matrix(height), _NO_TAGS
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = self._tags
        ratio = self._info.sample_aspect_ratio
        if ratio:
            context.sample_aspect_ratio = 1 / ratio if self._turned(height, width) else ratio
        self._stream = stream
        self._audio = _AudioCopy(self._source, self._output, self._container)

    def _turned(self, height: int, width: int) -> bool:
        """Whether the source was stored on its side."""
        return (height, width) == self._info.size[::-1] != self._info.size

    def close(self) -> None:
        """Flush the encoder, copy the rest of the sound, and give the file its final name."""
        with self._translated():
            if self._output is None:
                raise ItemFailed(f"{self._source} has no frame that can be read.")
            self._output.mux(self._encode(None))
            self._audio.copy_until(None)
            self._audio.close()
            self._output.close()
            self._temporary.replace(self.path)

    def abort(self) -> None:
        """Close without finishing, and remove the temporary file."""
        with contextlib.suppress(Exception):  # the file is thrown away; what its trailer would have said is no matter
            if self._audio is not None:
                self._audio.close()
            if self._output is not None:
                self._output.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn FFmpeg's exceptions into ours, with the half-written file removed."""
        try:
            yield
        except P2PError:
            self.abort()
            raise
        except FFMPEG_ERRORS as exc:
            self.abort()
            from_ffmpeg = isinstance(exc, av.error.FFmpegError)
            if isinstance(exc, OSError) and (not from_ffmpeg or exc.errno in DISK_ERRORS):
                raise write_failure(self.path, exc) from exc
            raise ItemFailed(f"{self.path} cannot be encoded ({reason(exc)}).") from exc


# What a person wrote about a file; the rest is about how its bytes lie, which is no longer true.
_FILE_TAGS = frozenset(
    ("title", "artist", "album", "author", "comment", "copyright", "creation_time", "date", "description", "genre")
)
_STREAM_TAGS = frozenset(("language", "title", "handler_name"))


def _kept(metadata: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() in names}


class _AudioCopy:
    """The audio packets of a file, handed to ``output`` in step with the video; those that ``kind`` can keep."""

    def __init__(self, path: Path, output: Any, kind: Container) -> None:
        self._output = output
        self._container = av.open(str(path), options=OPEN_OPTIONS)
        try:
            streams = [
                stream
                for stream in self._container.streams.audio
                if stream.codec_context is not None and kind.keeps_sound(stream.codec_context.name)
            ]
            self._targets = {stream.index: output.add_stream_from_template(stream) for stream in streams}
            for stream in streams:
                self._targets[stream.index].metadata.update(_kept(stream.metadata, _STREAM_TAGS))
            output.metadata.update(_kept(self._container.metadata, _FILE_TAGS))
            self._packets = self._container.demux(streams) if streams else iter(())
            self._next = self._read()
        except BaseException:
            self._container.close()
            raise

    def _read(self) -> Any:
        """The next packet that carries data; the flushing ones at the end do not. A damaged tail ends the sound."""
        with contextlib.suppress(*FFMPEG_ERRORS):
            return next((packet for packet in self._packets if packet.dts is not None), None)
        return None

    def copy_until(self, seconds: Fraction | None) -> None:
        """Mux every packet that starts before ``seconds``; None means all that are left."""
        while self._next is not None and (seconds is None or self._next.dts * self._next.time_base <= seconds):
            packet = self._next
            packet.stream = self._targets[packet.stream.index]
            self._output.mux(packet)
            self._next = self._read()

    def close(self) -> None:
        self._container.close()
