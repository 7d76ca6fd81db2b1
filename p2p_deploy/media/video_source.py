"""Reading video through PyAV (FFmpeg): every frame of the main video stream, in order, with its time stamp."""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.base import EndOfStream, Frame, Item, ReadOptions
from p2p_deploy.media.containers import CONTAINERS, READERS
from p2p_deploy.media.cut import missing_bytes
from p2p_deploy.pixels import Pixels

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
_BT709, _BT601, _UNSPECIFIED = 1, 6, 2  # AVCOL_SPC
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Most of PyAV's exceptions are OSErrors or ValueErrors too, but not all.
FFMPEG_ERRORS = (av.error.FFmpegError, OSError, ValueError)
SEEK_FRAMES = 600  # decoded at most after a seek; encoders set a key frame every 250 or sooner
OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": READERS}


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the output must have in common with its source.

    Attributes:
        size: (height, width) as stored, before any rotation.
        time_base: seconds per time-stamp unit.
        rate: average frames per second.
        tags: AVCOL numbers of (matrix, range, primaries, transfer) for the output.
        matrix: the colour matrix to convert with: the tagged one, else BT.709 from 720 lines up and BT.601 below.
        sample_aspect_ratio: width of a pixel over its height, or None for square.
    """

    size: tuple[int, int]
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

    def __init__(self, path: Path, options: ReadOptions = ReadOptions()) -> None:
        self.path = path
        self.damage: str | None = None
        self._ended = False
        self._corrupt = 0
        self._end: Fraction | None = None
        with _refusing(path):
            self._container = av.open(str(path), options=OPEN_OPTIONS)
        try:
            with _refusing(path):
                self._open()
        except ItemFailed:
            self.close()
            raise

    def _open(self) -> None:
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            raise ItemFailed(f"{self.path} has no video stream.")
        if self._stream.codec_context is None:
            raise ItemFailed(f"{self.path} has video in a format that FFmpeg has no decoder for.")
        self._stream.thread_type = "AUTO"
        self._frames: Iterator[Any] = self._decoded()
        self.expected_frames: int | None = self._stream.frames or None
        self.info = _video_info(self._stream)
        self._notes = _losses(self.path, self._container, self._stream)
        self._missing_bytes = missing_bytes(self.path)

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
            if frame is not None:
                return self._convert(frame, item.index)
        except FFMPEG_ERRORS as exc:
            self._finish(f"{self.path} is damaged after frame {item.index} ({reason(exc)})")
            raise EndOfStream from exc
        self._finish(self._missing_end(item.index) or self._cut() or self._corruption())
        raise EndOfStream

    def seek(self, seconds: Fraction) -> None:
        """Go on with the first frame shown at or after a time, decoding from the key frame before it.

        From here on frames are known by their time stamps, ``damage`` means nothing, and the stream ends after
        ``SEEK_FRAMES``: a clip may have one key frame in ten hours.

        Raises:
            ItemFailed: FFmpeg cannot find its way in this file.
        """
        units = min(math.ceil(seconds / self.info.time_base), 2**62)  # FFmpeg counts in 64 bits
        with _refusing(self.path):
            self._container.seek(units, stream=self._stream)
        near = itertools.islice(self._decoded(), SEEK_FRAMES)
        self._frames = itertools.dropwhile(lambda frame: frame.pts is not None and frame.pts < units, near)

    def _decoded(self) -> Iterator[Any]:
        """Frames in the order they are shown.

        AVI stores no time stamps but gives each frame a turn, and turns may be left empty. Those that FFmpeg guesses
        jump to and fro when the encoder reordered frames.
        """
        if self._container.format.name != "avi":
            yield from self._container.decode(self._stream)
            return
        turns: deque[int] = deque()
        for packet in self._container.demux(self._stream):
            if packet.dts is not None:
                turns.append(packet.dts)
            for frame in packet.decode():
                frame.pts = turns.popleft() if turns else None
                yield frame

    def _convert(self, frame: Any, index: int) -> tuple[Frame, Pixels]:
        time_base = self.info.time_base
        duration = frame.duration or round(1 / (self.info.rate * time_base))
        pts = frame.pts if frame.pts is not None else round((self._end or Fraction(0)) / time_base)
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace=self.info.matrix,
            src_color_range=frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
            threads=1,
        ).to_ndarray()
        self._end = (pts + duration) * time_base
        self._corrupt += frame.is_corrupt
        notes = self._notes
        if rgb.shape[:2] != self.info.size:
            notes = (*notes, "size changes within the clip; kept at the first")
        pixels = np.ascontiguousarray(_as_shown(frame, rgb))
        return Frame(index, pixels.shape[:2], 3, pts, duration, time_base, notes), pixels

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

    def _cut(self) -> str | None:
        return f"{self.path} is cut: at least {self._missing_bytes} bytes are missing" if self._missing_bytes else None

    def _corruption(self) -> str | None:
        return f"{self.path} has {self._corrupt} damaged frame{'s' * (self._corrupt > 1)}" if self._corrupt else None

    def close(self) -> None:
        """Close the file."""
        self._ended = True
        self._container.close()


def _as_shown(frame: Any, rgb: Pixels) -> Pixels:
    """Turn and mirror as the display matrix says: stored (x, y) is shown at (a x + c y, b x + d y)."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if abs(b) > abs(a):
        rgb, right, down = rgb.transpose(1, 0, 2), c, b
    else:
        right, down = a, d
    return rgb[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever FFmpeg meets in a file into one sentence about that file."""
    try:
        yield
    except FFMPEG_ERRORS as exc:
        raise ItemFailed(f"{path} is damaged, or is not a video FFmpeg can open ({reason(exc)}).") from exc


def usual_matrix(height: int) -> Colorspace:
    """What readers assume of pictures without a tag."""
    return Colorspace.ITU709 if height >= 720 else Colorspace.ITU601


def _video_info(stream: Any) -> VideoInfo:
    context = stream.codec_context
    matrix_tag = int(context.colorspace)
    matrix = _MATRICES.get(matrix_tag, usual_matrix(context.height))
    if matrix_tag not in _MATRICES and matrix_tag != _UNSPECIFIED:  # RGB, YCgCo: what is written is neither
        matrix_tag = _BT709 if matrix == Colorspace.ITU709 else _BT601
    return VideoInfo(
        size=(context.height, context.width),
        time_base=stream.time_base,
        rate=stream.average_rate or stream.guessed_rate or Fraction(25),
        tags=(matrix_tag, int(context.color_range), int(context.color_primaries), int(context.color_trc)),
        matrix=matrix,
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
    )


def _losses(path: Path, container: Any, stream: Any) -> tuple[str, ...]:
    """What of the file does not reach the output, which is of the same kind."""
    notes = []
    depth = max((component.bits for component in stream.format.components), default=8) if stream.format else 8
    if depth > 8:
        notes.append(f"{depth}-bit depth reduced to 8")
    if stream.format and any(component.is_alpha for component in stream.format.components):
        notes.append("alpha channel dropped")
    if len(container.streams.video) > 1:
        notes.append("only the main video stream of several")
    kind = CONTAINERS[path.suffix.lower()]
    sounds = [audio.codec_context.name if audio.codec_context else "" for audio in container.streams.audio]
    dropped = sorted({codec or "an unknown codec" for codec in sounds if not (codec and kind.keeps_sound(codec))})
    if dropped:
        notes.append(f"sound dropped: {kind.muxer} cannot take {', '.join(dropped)} in step with the pictures")
    if container.streams.subtitles:
        notes.append("subtitles dropped")
    return tuple(notes)


def _promised_end(stream: Any) -> Fraction | None:
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
        return (stream.start_time or 0) * stream.time_base + duration * stream.time_base
    container = stream.container
    if container.duration and not container.streams.audio:
        return Fraction(container.duration, av.time_base)
    return None


def reason(exc: Exception) -> str:
    """FFmpeg's own words for what went wrong, one line."""
    return getattr(exc, "strerror", None) or str(exc).partition("\n")[0] or type(exc).__name__
