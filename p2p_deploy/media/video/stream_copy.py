"""What goes from one video file to another beside the pictures: sound, subtitles, chapters, a person's words."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from p2p_deploy.media.containers import Container
from p2p_deploy.media.video.ffmpeg import FFMPEG_ERRORS, open_input
from p2p_deploy.media.video.info import Clock
from p2p_deploy.media.video.sound import RecodedSound

# What a person wrote about a file; the rest is about how its bytes lie, which is no longer true.
_FILE_TAGS = frozenset(
    ("title", "artist", "album", "author", "comment", "copyright", "creation_time", "date", "description", "genre")
)
_STREAM_TAGS = frozenset(("language", "title", "handler_name"))


class StreamCopy:
    """The sound and subtitle packets of a file, handed to ``output`` in step with the video.

    Attributes:
        notes: what ``output``, a ``kind`` of container, does not take.
    """

    def __init__(self, path: Path, output: Any, kind: Container, origin: Fraction) -> None:
        """Add the streams to ``output``; times are counted from ``origin``."""
        self._output = output
        self._kind = kind
        self._container = open_input(path)
        self._targets: dict[int, Any] = {}
        self._clocks: dict[int, Clock] = {}
        self._recoded: dict[int, RecodedSound] = {}
        self.notes: list[str] = []
        try:
            streams = self._container.streams
            taken = self._add(streams.audio, "sound") + self._add(streams.subtitles, "subtitles")
            for stream in taken:
                apart = stream.type == "audio" and not kind.matroska
                self._clocks[stream.index] = Clock(stream.time_base, origin, int(apart))
            output.metadata.update(_kept(self._container.metadata, _FILE_TAGS))
            self._copy_chapters()
            self._note_rest()
            self._packets = self._container.demux(taken) if taken else iter(())
            self._next = self._read()
        except BaseException:
            self._container.close()
            raise

    def _add(self, streams: Any, what: str) -> list[Any]:
        """Add those streams that ``output`` takes, and note the codecs of the others."""
        taken, dropped = [], set()
        for stream in streams:
            codec = stream.codec_context.name if stream.codec_context else ""
            target = self._target(stream, codec)
            if target is None and codec and stream.type == "audio" and self._kind.lossless_sound:
                sound = self._recoded[stream.index] = RecodedSound(stream, self._output)
                target = sound.target
                self.notes.append(f"sound in {codec} written as FLAC: {self._kind.muxer} cannot take it")
            if target is None:
                dropped.add(codec or "an unknown codec")
                continue
            target.metadata.update(_kept(stream.metadata, _STREAM_TAGS))
            target.disposition = stream.disposition
            self._targets[stream.index] = target
            taken.append(stream)
        if dropped:
            step = " in step with the pictures" if what == "sound" and self._kind.sounds else ""
            self.notes.append(f"{what} dropped: {self._kind.muxer} cannot take {', '.join(sorted(dropped))}{step}")
        return taken

    def _target(self, stream: Any, codec: str) -> Any:
        unknown = stream.codec_context is None
        if unknown or (stream.type == "audio" and self._kind.sounds and not codec.startswith(self._kind.sounds)):
            return None
        try:
            return self._output.add_stream_from_template(stream)
        except ValueError:  # the muxer does not know the codec
            return None

    def _copy_chapters(self) -> None:
        chapters = self._container.chapters()
        if chapters and self._kind.chapters:
            self._output.set_chapters(chapters)
        elif chapters:
            self.notes.append(f"chapters dropped: {self._kind.muxer} has none")

    def _note_rest(self) -> None:
        streams = self._container.streams
        if streams.attachments:
            self.notes.append("attachments dropped")
        # MP4 keeps the names of chapters in a stream.
        names = [stream.name for stream in streams.data]
        if names and not (self._container.chapters() and set(names) == {"bin_data"}):
            self.notes.append("data streams dropped")

    def _read(self) -> Any:
        """The next packet that carries data; the flushing ones at the end do not. A damaged tail ends the sound."""
        with contextlib.suppress(*FFMPEG_ERRORS):
            return next((packet for packet in self._packets if packet.dts is not None), None)
        return None

    def copy_until(self, seconds: Fraction | None) -> None:
        """Mux every packet that starts before ``seconds``; None means all that are left."""
        while self._next is not None:
            packet = self._next
            clock = self._clocks[packet.stream.index]
            if seconds is not None and clock.seconds(packet.dts) > seconds:
                return
            before = packet.dts
            packet.dts = clock.place(before, packet.duration or 0)
            if packet.pts is not None:
                packet.pts += packet.dts - before
            target = self._targets[packet.stream.index]
            if packet.stream.index in self._recoded:
                self._output.mux(self._recoded[packet.stream.index].packets(packet))
            elif not self._before_start(packet, target):
                packet.stream = target
                self._output.mux(packet)
            self._next = self._read()
        for sound in self._recoded.values():
            self._output.mux(sound.packets(None))
        self._recoded = {}

    def _before_start(self, packet: Any, target: Any) -> bool:
        """Whether a packet is over before time 0: an encoder's run-up, which is not heard.

        MP4 can hide it, and Matroska that of Matroska, and of Opus. Else FFmpeg would move all pictures back instead.
        """
        if packet.pts is None or packet.pts >= 0 or packet.stream.type != "audio":
            return False
        if self._kind.time_stamps:
            of_mp4 = self._container.format.name.startswith("mov")
            if not (self._kind.matroska and of_mp4) or target.codec_context.name == "opus":
                return False
        if packet.pts + (packet.duration or 0) <= 0:
            return True
        packet.pts = packet.dts = 0
        return False

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def _kept(metadata: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() in names}
