"""Which video containers are read and written, and with which codecs, as plain data: nothing here loads FFmpeg."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Container:
    """How a container is written.

    Attributes:
        muxer: FFmpeg's name of it.
        codec: the one of ``CODECS`` that is taken when none is asked for.
        in_order: whether frames must be stored in the order they are shown. MP4 derives how long a frame is shown from
            the order of decoding, which B-frames would make another one.
        time_stamps: whether it stores when a frame is shown. AVI does not: frames take turns, evenly spaced, and a turn
            may be left empty.
        colour_tags: whether it stores the matrix and range of its pixels. Where it does not, readers assume limited
            range, BT.709 from 720 lines up and BT.601 below, and that is what is written.
        sounds: audio codecs whose packets can be copied into it in step with the pictures, by the start of FFmpeg's
            name; none named means all that FFmpeg puts into it.
        lossless_sound: whether sound that cannot be copied is written as FLAC; else it is left out.
        chapters: whether it stores chapters.
        matroska: whether it is a kind of Matroska: time stamps are whole milliseconds, those of sound may be equal, and
            the shape of a pixel is in the header.
    """

    muxer: str
    codec: str = "h264"
    in_order: bool = False
    time_stamps: bool = True
    colour_tags: bool = True
    sounds: tuple[str, ...] = ()
    lossless_sound: bool = False
    chapters: bool = True
    matroska: bool = False


@dataclass(frozen=True)
class Codec:
    """How a codec is written.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        fits: the suffixes of the containers that take it.
        options: the encoder's options; visually lossless or nearly so.
        formats: FFmpeg's pixel formats for even and for odd sizes. 4:2:0 halves both sides; an encoder that wants them
            even keeps every pixel only without subsampling.
        deep_formats: the same for pixels of more than 8 bits; None where the codec holds 8.
        crf: name of the option for the constant rate factor and its smallest and largest value; None: it has none.
        in_order: the options that keep frames in the order they are shown.
        fastest: frames a second beyond which the encoder refuses; what it is told changes no time stamp.
        full_range: whether it says that its pixels use the full range. ProRes is read as limited, whatever it is.
        hardware: whether it needs a device beside FFmpeg.
        narrowest: frames of fewer columns are refused.
    """

    encoder: str
    fits: tuple[str, ...]
    options: dict[str, str]
    formats: tuple[str, str] = ("yuv420p", "yuv444p")
    deep_formats: tuple[str, str] | None = None
    crf: tuple[str, int, int] | None = None
    in_order: dict[str, str] = field(default_factory=dict)
    fastest: int | None = None
    full_range: bool = True
    hardware: bool = False
    narrowest: int = 1


_MP4 = (".mp4", ".m4v", ".mov")

CONTAINERS = {
    ".mp4": Container("mp4", in_order=True),
    ".m4v": Container("mp4", in_order=True),
    ".mov": Container("mov", in_order=True),
    ".mkv": Container("matroska", lossless_sound=True, matroska=True),
    # H.264 in AVI is read back with guessed time stamps.
    ".avi": Container(
        "avi", "mpeg4", time_stamps=False, colour_tags=False, sounds=("pcm_", "mp2", "mp3"), chapters=False
    ),
    ".webm": Container("webm", "vp9", matroska=True),
}

_DEEP = ("yuv420p10le", "yuv444p10le")
_NVENC = {"preset": "p5", "rc": "vbr", "cq": "19", "b": "0"}

CODECS = {
    "h264": Codec(
        "libx264",
        (*_MP4, ".mkv"),
        {"crf": "18", "preset": "veryfast"},
        deep_formats=_DEEP,
        crf=("crf", 0, 51),
        in_order={"bf": "0"},
    ),
    "h265": Codec(
        "libx265",
        (*_MP4, ".mkv"),
        {"crf": "18", "preset": "veryfast", "x265-params": "log-level=none"},
        deep_formats=_DEEP,
        crf=("crf", 0, 51),
        in_order={"bf": "0"},
        narrowest=65,  # up to one block of it, x265 reads and writes beside its memory: other pictures come out
    ),
    "av1": Codec(
        "libsvtav1",
        (".mp4", ".m4v", ".mkv", ".webm"),
        {"crf": "20", "preset": "8"},
        formats=("yuv420p", "yuv420p"),
        deep_formats=("yuv420p10le", "yuv420p10le"),
        crf=("crf", 1, 63),
        fastest=240,
    ),
    "vp9": Codec(
        "libvpx-vp9",
        (".mp4", ".m4v", ".mkv", ".webm"),
        {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
        formats=("yuv420p", "yuv420p"),
        crf=("crf", 0, 63),
    ),
    "prores": Codec(
        "prores_ks",
        (".mov", ".mkv"),
        {"profile": "hq"},
        formats=("yuv422p10le", "yuv422p10le"),
        deep_formats=("yuv422p10le", "yuv422p10le"),
        full_range=False,
    ),
    "ffv1": Codec(
        "ffv1",
        (".mkv", ".avi"),
        {"level": "3"},
        formats=("yuv444p", "yuv444p"),
        deep_formats=("yuv444p10le", "yuv444p10le"),
    ),
    "mpeg4": Codec(
        "mpeg4",
        (".avi",),
        {"flags": "+qscale", "global_quality": str(2 * 118), "bf": "0"},
        formats=("yuv420p", "yuv420p"),
    ),
    "h264_nvenc": Codec("h264_nvenc", (*_MP4, ".mkv"), _NVENC, crf=("cq", 1, 51), in_order={"bf": "0"}, hardware=True),
    "hevc_nvenc": Codec(
        "hevc_nvenc",
        (*_MP4, ".mkv"),
        _NVENC,
        deep_formats=("p010le", "yuv444p16le"),
        crf=("cq", 1, 51),
        in_order={"bf": "0"},
        hardware=True,
    ),
    "av1_nvenc": Codec(
        "av1_nvenc",
        (".mp4", ".m4v", ".mkv", ".webm"),
        _NVENC,
        formats=("yuv420p", "yuv420p"),
        deep_formats=("p010le", "p010le"),
        crf=("cq", 1, 51),
        hardware=True,
    ),
}

# What is read and not written. Matroska takes nearly every kind of sound and subtitle that these hold.
READ_ONLY = (
    *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob"),
    *(".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".y4m"),
)
# FFmpeg recognises a file by its content; these are the readers it may choose, so that a play list named .mp4 cannot
# make it open other files.
READERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg,yuv4mpegpipe"
