"""Writing video through PyAV (FFmpeg): one frame out for each frame in, at its time stamp, with the source's sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from p2p_deploy.errors import ItemFailed, P2PError
from p2p_deploy.files import DISK_ERRORS, temporary_name, write_failure
from p2p_deploy.media.base import Frame, WriteOptions
from p2p_deploy.media.containers import CONTAINERS
from p2p_deploy.media.video.colour import FromRgb, usual_matrix
from p2p_deploy.media.video.encoders import choose_encoder
from p2p_deploy.media.video.ffmpeg import FFMPEG_ERRORS, address, open_input, reason
from p2p_deploy.media.video.info import promised_end
from p2p_deploy.media.video.matroska_aspect import PLACEHOLDER, write_aspect
from p2p_deploy.media.video.source import VideoSource
from p2p_deploy.media.video.stream_copy import StreamCopy
from p2p_deploy.pixels import Pixels, resize

# MPEG-4 counts in parts of a second no finer than this; DirectShow writes 10000000/333667 frames per second.
_FINEST = Fraction(1, 65535)
# Matroska would get random numbers that no player needs; like this the same frames make the same file.
_REPRODUCIBLE = {"fflags": "+bitexact"}
_NO_TAGS = (2, 0, 2, 2)  # AVCOL: unspecified matrix, range, primaries, transfer
_NAMES = {Colorspace.ITU709: "BT.709", Colorspace.ITU601: "BT.601"}
_ROUNDED = "time stamps rounded to milliseconds"
_INEXACT = Fraction(1, 100)  # seconds by which the length that a header gives may be off: Matroska rounds


class VideoSink:
    """One video file with the time stamps, colour tags, sound, subtitles and chapters of ``source``.

    Packets of sound and subtitles are copied, not re-encoded, and interleaved as the frames are written. Before the
    file gets its name it is opened again, and its frames are counted.

    Attributes:
        notes: from the first frame on, what of the source the output does not hold or holds differently.
    """

    def __init__(self, path: Path, source: VideoSource, options: WriteOptions = WriteOptions()) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._source = source.path
        self._info = source.info
        self._options = options
        container = CONTAINERS.get(path.suffix.lower())
        if container is None:
            raise ItemFailed(f"{path} cannot be written; expected one of {' '.join(CONTAINERS)}.")
        self._container = container
        self._rate = source.info.rate
        if not container.time_stamps:
            self._rate = 1 / max((1 / self._rate).limit_denominator(_FINEST.denominator), _FINEST)
        self._durations: dict[int, int] = {}  # of frames that the encoder holds, by time stamp
        self._temporary = temporary_name(path)
        self._output: Any = None  # opened by the first frame, which knows the size
        self._stream: Any = None
        self._copy: StreamCopy | None = None
        self._aspect: Fraction | None = None  # that is still to be written into the header
        self._turn = 0  # the first one free, in a container without time stamps
        self._written = 0
        self._end = Fraction(0)

    def write(self, frame: Frame, pixels_HWC: Pixels) -> None:
        """Encode one frame; the first one fixes the size and the depth."""
        with self._translated():
            if self._copy is None:
                height, width = pixels_HWC.shape[:2]
                self._open(height, width, self._info.depth if frame.depth > 8 else 8)
            assert self._copy is not None
            rgb = resize(pixels_HWC, *self._size)
            picture = self._from_rgb(rgb if rgb.shape[2] == 3 else np.repeat(rgb, 3, axis=2))
            if self._container.time_stamps:
                if (
                    self._container.matroska
                    and frame.pts * 1000 * frame.time_base.numerator % frame.time_base.denominator
                ):
                    self._note(_ROUNDED)
                picture.pts, picture.time_base, picture.duration = frame.pts, frame.time_base, frame.duration
                self._durations[frame.pts] = frame.duration
            else:
                turn = max(self._turn, round(frame.pts * frame.time_base * self._rate))
                picture.pts, picture.time_base, picture.duration = turn, 1 / self._rate, 1
                self._turn = turn + 1
            # ProRes takes them from the frame.
            picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc = self._tags
            self._end = (picture.pts + picture.duration) * picture.time_base  # encoding changes the unit
            self._copy.copy_until(picture.pts * picture.time_base)
            self._output.mux(self._encode(picture))
            self._written += 1

    def _encode(self, picture: Any) -> list[Any]:
        """Packets; whatever the encoder says is not about the disk, EPERM included.

        Encoders give every packet the same duration; each gets back its frame's own, or a last picture that is shown
        for long would be gone at once.
        """
        try:
            packets: list[Any] = self._stream.encode(picture)
        except FFMPEG_ERRORS as exc:
            raise ItemFailed(f"{self.path} cannot be encoded ({reason(exc)}).") from exc
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            if packet.dts is not None and packet.pts is not None and packet.dts > packet.pts:
                packet.dts = packet.pts  # x265 sets no time for decoding a clip of one or two frames
        return packets

    def _open(self, height: int, width: int, depth: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._output = av.open(
            address(self._temporary), "w", format=self._container.muxer, container_options=_REPRODUCIBLE
        )
        encoder = choose_encoder(self._container, self._options, (height, width), depth)
        rate = min(self._rate, encoder.fastest) if encoder.fastest else self._rate
        stream = self._output.add_stream(encoder.name, rate=rate, options=encoder.options)
        stream.pix_fmt = encoder.pixel_format
        stream.width, stream.height = width, height
        context = stream.codec_context
        if self._container.time_stamps:
            context.time_base = stream.time_base = self._info.time_base
        if encoder.name == "libx265" and self._container.muxer in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the one of two that Apple's players know
        self.notes = encoder.notes
        self._set_colours(height, encoder.full_range)
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = self._tags
        ratio = self._info.sample_aspect_ratio
        if ratio:
            ratio = 1 / ratio if self._turned(height, width) else ratio
            context.sample_aspect_ratio = ratio
            if ratio != 1 and self._container.matroska:
                self._aspect = ratio
                stream.metadata["title"] = PLACEHOLDER
        self._from_rgb = FromRgb(self._matrix, self._tags[1] == ColorRange.JPEG, encoder.pixel_format)
        self._size = height, width
        self._stream = stream
        self._copy = StreamCopy(self._source, self._output, self._container, self._info.origin)
        self.notes += tuple(self._copy.notes)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes = (*self.notes, note)

    def _set_colours(self, height: int, full_range: bool) -> None:
        """Take over the matrix, range and tags of the source, as far as they can be stored."""
        self._matrix, self._tags = self._info.matrix, self._info.tags
        if not self._container.colour_tags:
            self._matrix, self._tags = usual_matrix(height), _NO_TAGS
            if self._matrix != self._info.matrix:
                self._note(f"colours written as {_NAMES[self._matrix]}, which {self._container.muxer} is read as")
        elif not full_range:
            self._tags = (self._tags[0], int(ColorRange.MPEG), *self._tags[2:])
        if self._info.tags[1] == ColorRange.JPEG != self._tags[1]:
            self._note("full range of colours written as limited range")

    def _turned(self, height: int, width: int) -> bool:
        """Whether the source was stored on its side."""
        return (height, width) == self._info.size[::-1] != self._info.size

    def close(self) -> None:
        """Flush the encoder, copy the rest of the sound, count the frames, and give the file its final name."""
        with self._translated():
            if self._copy is None:
                raise ItemFailed(f"{self._source} has no frame that can be read.")
            self._output.mux(self._encode(None))
            self._copy.copy_until(None)
            self._copy.close()
            self._output.close()
            if self._aspect and not write_aspect(self._temporary, self._size, self._aspect):
                raise ItemFailed(f"{self.path} cannot be given pixels of {self._aspect}; its header has no room.")
            self._check()
            self._temporary.replace(self.path)

    def _check(self) -> None:
        """Raise ItemFailed unless the finished file has as many frames, and is as long, as what was written."""
        with open_input(self._temporary) as container:
            stream = container.streams.video[0]
            end = promised_end(stream)
            count = sum(packet.size > 0 for packet in container.demux(stream))
        if count != self._written:
            raise ItemFailed(f"{self.path} did not come out whole: {self._written} frames went in, {count} are in it.")
        if self._container.time_stamps and end is not None and abs(end - self._end) > _INEXACT:
            raise ItemFailed(
                f"{self.path} did not come out whole: {float(self._end):.2f} s went in, it is {float(end):.2f} s long."
            )

    def abort(self) -> None:
        """Close without finishing, and remove the temporary file."""
        with contextlib.suppress(Exception):  # the file is thrown away; what its trailer would have said is no matter
            if self._copy is not None:
                self._copy.close()
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
