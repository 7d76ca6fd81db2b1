"""Which video containers are read and written, as plain data: nothing here loads FFmpeg."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """How a container is written.

    Attributes:
        muxer: FFmpeg's name of it.
        encoder: the video encoder.
        options: the encoder's options; visually lossless or nearly so.
        time_stamps: whether it stores when a frame is shown. AVI does not: frames take turns, evenly spaced, and a turn
            may be left empty.
        colour_tags: whether it stores the matrix and range of its pixels. Where it does not, readers assume limited
            range, BT.709 from 720 lines up and BT.601 below, and that is what is written.
        sounds: audio codecs whose packets can be copied into it in step with the pictures, by the start of FFmpeg's
            name; none named means all.
    """

    muxer: str
    encoder: str
    options: dict[str, str]
    time_stamps: bool = True
    colour_tags: bool = True
    sounds: tuple[str, ...] = ()

    def keeps_sound(self, codec: str) -> bool:
        """Whether sound in ``codec`` is copied."""
        return not self.sounds or codec.startswith(self.sounds)


_H264 = {"crf": "18", "preset": "veryfast"}
# MP4 derives how long a frame is shown from the order of decoding, which B-frames would make another one.
_H264_IN_ORDER = {**_H264, "bf": "0"}

CONTAINERS = {
    ".mp4": Container("mp4", "libx264", _H264_IN_ORDER),
    ".m4v": Container("mp4", "libx264", _H264_IN_ORDER),
    ".mov": Container("mov", "libx264", _H264_IN_ORDER),
    ".mkv": Container("matroska", "libx264", _H264),
    # H.264 in AVI is read back with guessed time stamps.
    ".avi": Container(
        "avi",
        "mpeg4",
        {"flags": "+qscale", "global_quality": str(2 * 118), "bf": "0"},
        time_stamps=False,
        colour_tags=False,
        sounds=("pcm_", "mp2", "mp3"),
    ),
    ".webm": Container(
        "webm", "libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}
    ),
}
# FFmpeg recognises a file by its content; these are the readers it may choose, so that a play list named .mp4 cannot
# make it open other files.
READERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
