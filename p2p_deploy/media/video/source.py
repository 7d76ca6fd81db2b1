"""Reading video through PyAV (FFmpeg): every frame of the main video stream, in order, with its time stamp."""

from __future__ import annotations

import contextlib
import itertools
import math
import stat
import struct
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.base import EndOfStream, Frame, Item, ReadOptions
from p2p_deploy.media.video.colour import ToRgb
from p2p_deploy.media.video.ffmpeg import FFMPEG_ERRORS, open_input, reason
from p2p_deploy.media.video.info import Clock, promised_end, video_info
from p2p_deploy.media.video.mp4_index import MOST_SAMPLES, announced_samples
from p2p_deploy.media.video.truncation import missing_bytes
from p2p_deploy.pixels import Pixels

SEEK_FRAMES = 600  # decoded at most after a seek; encoders set a key frame every 250 or sooner


class VideoSource:
    """The first video stream of a file, decoded in order.

    Raises:
        ItemFailed: FFmpeg cannot open the file, it has no video stream, or frames larger than are allowed.
    """

    sequential = True

    def __init__(self, path: Path, options: ReadOptions = ReadOptions()) -> None:
        self.path = path
        self.damage: str | None = None
        self._options = options
        self._ended = False
        self._corrupt = 0
        _refuse_pipe(path)
        with _refusing(path):
            samples = announced_samples(path)
            if samples > MOST_SAMPLES:
                raise ItemFailed(f"{path} is damaged: it says that it has {samples:,} frames and pieces of sound.")
            self._container = open_input(path, max_pixels=str(options.max_pixels))
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
        self.info = video_info(self._stream)
        self._refuse_large(*self.info.size)
        self._stream.codec_context.options |= {"max_pixels": str(self._options.max_pixels)}
        self._stream.thread_type = "AUTO"
        self._frames: Iterator[Any] = self._decoded()
        self.expected_frames: int | None = self._stream.frames or None
        self._clock = Clock(self.info.time_base, self.info.origin)
        self._deep = self._options.deep and self.info.depth > 8
        self._to_rgb = ToRgb(self.info.matrix, self._deep)
        self._notes = self._losses()
        self._missing_bytes = missing_bytes(self.path)

    def _refuse_large(self, height: int, width: int) -> None:
        if height * width > self._options.max_pixels:
            raise ItemFailed(
                f"{self.path} has frames of {width}x{height} pixels, {height * width:,}; at most "
                f"{self._options.max_pixels:,} are read. Allow more, or make it smaller."
            )

    def items(self) -> Iterator[Item]:
        """Items until ``decode`` has met the end of the stream."""
        index = 0
        while not self._ended:
            yield Item(self.path, index)
            index += 1

    def decode(self, item: Item, into: Pixels | None = None) -> tuple[Frame, Pixels]:
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
            context = self._stream.codec_context
            self._refuse_large(context.height, context.width)  # which a decoder says only in its own log
            self._finish(f"{self.path} is damaged after frame {item.index} ({reason(exc)}).")
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
        units = min(math.ceil((seconds + self.info.origin) / self.info.time_base), 2**62)  # FFmpeg counts in 64 bits
        with _refusing(self.path):
            self._container.seek(units, stream=self._stream)
        self._clock = Clock(self.info.time_base, self.info.origin)
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
        pts = self._clock.place(frame.pts, duration)
        self._corrupt += frame.is_corrupt
        notes = self._notes
        if (frame.height, frame.width) != self.info.size:
            notes = (*notes, "size changes within the clip; kept at the first")
        if self._clock.corrected:
            notes = (*notes, "time stamps that run backwards; counted on")
        pixels = _as_shown(frame, self._to_rgb(frame))
        depth = 16 if self._deep else 8
        return Frame(index, pixels.shape[:2], 3, pts, duration, time_base, notes, depth), pixels

    def _losses(self) -> tuple[str, ...]:
        """What of the pictures is not handed on."""
        notes = []
        if self.info.depth > 8 and not self._deep:
            notes.append(f"{self.info.depth}-bit depth reduced to 8")
        if self._stream.format and any(component.is_alpha for component in self._stream.format.components):
            notes.append("alpha channel dropped")
        if len(self._container.streams.video) > 1:
            notes.append("only the main video stream of several")
        return tuple(notes)

    def _finish(self, damage: str | None) -> None:
        self._ended = True
        self.damage = damage

    def _missing_end(self, frames: int) -> str | None:
        """A sentence when the last frame ends clearly before the header says it should."""
        promised = promised_end(self._stream)
        if promised is None or self._clock.corrected:
            return None
        promised -= self.info.origin
        missing = promised - self._clock.end * self.info.time_base
        if missing <= max(Fraction(1, 10), 3 / self.info.rate):
            return None
        return (
            f"{self.path} ends early: its header promises {float(promised):.2f} s of video, "
            f"{float(promised - missing):.2f} s ({frames} frames) can be read."
        )

    def _cut(self) -> str | None:
        return f"{self.path} is cut: at least {self._missing_bytes} bytes are missing." if self._missing_bytes else None

    def _corruption(self) -> str | None:
        return f"{self.path} has {self._corrupt} damaged frame{'s' * (self._corrupt > 1)}." if self._corrupt else None

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
    return np.ascontiguousarray(rgb[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _refuse_pipe(path: Path) -> None:
    """FFmpeg would wait for somebody to write into it."""
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise ItemFailed(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if not stat.S_ISREG(mode):
        raise ItemFailed(f"{path} is a folder, a pipe or a device; expected a file.")


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever FFmpeg meets in a file into one sentence about that file."""
    try:
        yield
    except FFMPEG_ERRORS as exc:
        raise ItemFailed(f"{path} is damaged, or is not a video FFmpeg can open ({reason(exc)}).") from exc
