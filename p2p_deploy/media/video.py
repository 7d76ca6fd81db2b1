"""Video files, through PyAV (FFmpeg): one frame out for each frame in, at its time stamp, with the source's sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.files import DISK_ERRORS, temporary_name, write_failure
from p2p_deploy.media.base import EndOfStream, Frame, Item
from p2p_deploy.pixels import Pixels

# suffix -> (FFmpeg muxer, encoder, encoder options)
_H264 = ("libx264", {"crf": "18", "preset": "veryfast"})
CONTAINERS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("mp4", *_H264),
    ".m4v": ("mp4", *_H264),
    ".mov": ("mov", *_H264),
    ".mkv": ("matroska", *_H264),
    ".avi": ("avi", "libx264", {**_H264[1], "bf": "0"}),  # AVI stores no time stamps, so no reordering
    ".webm": ("webm", "libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}),
}
SUFFIXES = tuple(CONTAINERS)

# AVColorSpace (what streams are tagged with) -> the matrix swscale is told to use
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the output must have in common with its source.

    Attributes:
        time_base: seconds per time-stamp unit.
        rate: average frames per second.
        tags: AVCOL numbers of (matrix, range, primaries, transfer) as the source is tagged.
        matrix: the colour matrix to convert with: the tagged one, else BT.709 from 720 lines up and BT.601 below.
        sample_aspect_ratio: width of a pixel over its height, or None for square.
    """

    time_base: Fraction
    rate: Fraction
    tags: tuple[int, int, int, int]
    matrix: Colorspace
    sample_aspect_ratio: Fraction | None


class VideoSource:
    """The first video stream of a file, decoded in order.

    Raises:
        ItemFailed: FFmpeg cannot open the file, or it has no video stream.
    """

    sequential = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self._ended = False
        try:
            self._container = av.open(str(path))
        except (OSError, ValueError) as exc:  # PyAV's errors are OSErrors or ValueErrors
            raise ItemFailed(f"{path} is damaged, or is not a video FFmpeg can open ({_reason(exc)}).") from exc
        if not self._container.streams.video:
            self.close()
            raise ItemFailed(f"{path} has no video stream.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._frames = self._container.decode(self._stream)
        self._end: Fraction | None = None
        self.expected_frames: int | None = self._stream.frames or None
        self.info = _video_info(self._stream)

    def items(self) -> Iterator[Item]:
        """Items until ``decode`` has met the end of the stream."""
        index = 0
        while not self._ended:
            yield Item(self.path, index)
            index += 1

    def decode(self, item: Item) -> tuple[Frame, Pixels]:
        """The next frame, RGB. Time stamps that the container lacks are counted on from the frame before.

        A file that ends early, or becomes unreadable, ends the stream and sets ``damage``.
        """
        if self._ended:
            raise EndOfStream
        try:
            frame = next(self._frames, None)
        except (OSError, ValueError) as exc:
            self._finish(f"{self.path} is damaged after frame {item.index} ({_reason(exc)})")
            raise EndOfStream from exc
        if frame is None:
            self._finish(self._missing_end(item.index))
            raise EndOfStream
        time_base = self.info.time_base
        duration = frame.duration or round(1 / (self.info.rate * time_base))
        pts = frame.pts if frame.pts is not None else round((self._end or Fraction(0)) / time_base)
        self._end = (pts + duration) * time_base
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace=self.info.matrix,
            src_color_range=frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_EXACT,
            threads=1,
        ).to_ndarray()
        turns = round(frame.rotation / 90)
        pixels = np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb
        return Frame(item.index, pixels.shape[:2], 3, pts, duration, time_base), pixels

    def _finish(self, damage: str | None) -> None:
        self._ended = True
        self.damage = damage

    def _missing_end(self, frames: int) -> str | None:
        """A sentence when the last frame ends clearly before the header says it should."""
        promised = _promised_end(self._stream)
        if promised is None:
            return None
        missing = promised - (self._end or Fraction(0))
        if missing <= max(Fraction(1, 10), 3 / self.info.rate):
            return None
        return (
            f"{self.path} ends early: its header promises {float(promised):.2f} s of video, "
            f"{float(promised - missing):.2f} s ({frames} frames) can be read"
        )

    def close(self) -> None:
        """Close the file."""
        self._ended = True
        self._container.close()


class VideoSink:
    """One video file with the time stamps, colour tags and audio streams of ``source``.

    Audio packets are copied, not re-encoded, and interleaved as the frames are written.
    """

    def __init__(self, path: Path, source: VideoSource) -> None:
        self.path = path
        self._source = source.path
        self._info = source.info
        self._temporary = temporary_name(path)
        self._output: Any = None  # opened by the first frame, which knows the size
        self._stream: Any = None
        self._audio: Any = None

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Encode one frame; the first one fixes the size."""
        with self._translated():
            if self._output is None:
                self._open(*pixels_HWC.shape[:2])
            rgb = pixels_HWC if pixels_HWC.shape[2] == 3 else np.repeat(pixels_HWC, 3, axis=2)
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=self._stream.pix_fmt,
                dst_colorspace=self._info.matrix,
                src_color_range=ColorRange.JPEG,
                dst_color_range=self._info.tags[1] or ColorRange.MPEG,
                interpolation=_EXACT,
                threads=1,
            )
            picture.pts, picture.time_base, picture.duration = frame.pts, frame.time_base, frame.duration
            self._audio.copy_until(frame.pts * frame.time_base)
            self._output.mux(self._stream.encode(picture))

    def _open(self, height: int, width: int) -> None:
        muxer, encoder, options = CONTAINERS[self.path.suffix.lower()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._output = av.open(str(self._temporary), "w", format=muxer)
        stream = self._output.add_stream(encoder, rate=self._info.rate, options=options)
        # 4:2:0 halves both sides; an odd one keeps every pixel only without subsampling.
        stream.pix_fmt = "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"
        stream.width, stream.height = width, height
        context = stream.codec_context
        context.time_base = stream.time_base = self._info.time_base
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = self._info.tags
        if self._info.sample_aspect_ratio:
            context.sample_aspect_ratio = self._info.sample_aspect_ratio
        self._stream = stream
        self._audio = _AudioCopy(self._source, self._output)

    def close(self) -> None:
        """Flush the encoder, copy the rest of the sound, and give the file its final name."""
        with self._translated():
            if self._output is None:
                raise ItemFailed(f"{self._source} has no frame that can be read.")
            self._output.mux(self._stream.encode(None))
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
        except (OSError, ValueError) as exc:
            self.abort()
            from_ffmpeg = isinstance(exc, av.error.FFmpegError)
            if isinstance(exc, OSError) and (not from_ffmpeg or exc.errno in DISK_ERRORS):
                raise write_failure(self.path, exc) from exc
            raise ItemFailed(f"{self.path} cannot be encoded ({_reason(exc)}).") from exc


class _AudioCopy:
    """The audio packets of a file, handed to ``output`` in step with the video."""

    def __init__(self, path: Path, output: Any) -> None:
        self._output = output
        self._container = av.open(str(path))
        streams = list(self._container.streams.audio)
        self._targets = {stream.index: output.add_stream_from_template(stream) for stream in streams}
        self._packets = self._container.demux(streams) if streams else iter(())
        self._next = self._read()

    def _read(self) -> Any:
        """The next packet that carries data; the flushing ones at the end do not. A damaged tail ends the sound."""
        with contextlib.suppress(OSError, ValueError):
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


def _video_info(stream: Any) -> VideoInfo:
    context = stream.codec_context
    tags = (
        int(context.colorspace),
        int(context.color_range),
        int(context.color_primaries),
        int(context.color_trc),
    )
    by_size = Colorspace.ITU709 if context.height >= 720 else Colorspace.ITU601
    return VideoInfo(
        time_base=stream.time_base,
        rate=stream.average_rate or stream.guessed_rate or Fraction(25),
        tags=tags,
        matrix=_MATRICES.get(tags[0], by_size),
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
    )


def _promised_end(stream: Any) -> Fraction | None:
    """When the last frame should end, in seconds, as far as the header tells."""
    if stream.duration:
        return (stream.start_time or 0) * stream.time_base + stream.duration * stream.time_base
    tag = stream.metadata.get("DURATION")  # Matroska: HH:MM:SS.fraction
    if tag:
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    container = stream.container
    if container.duration and not container.streams.audio:
        return Fraction(container.duration, av.time_base)
    return None


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc).partition("\n")[0] or type(exc).__name__
