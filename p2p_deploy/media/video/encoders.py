"""Which encoder writes a video: checked before any work, and set up for its first frame."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av

from p2p_deploy.errors import ItemFailed, OutputError
from p2p_deploy.media.base import WriteOptions
from p2p_deploy.media.containers import CODECS, CONTAINERS, Codec, Container
from p2p_deploy.media.video.ffmpeg import FFMPEG_ERRORS, reason


def check_codec(suffix: str, name: str | None, crf: int | None) -> None:
    """Refuse what a container, a codec or this FFmpeg cannot do, before any work.

    Args:
        suffix: of the output, one of ``CONTAINERS``.
        name: one of ``CODECS``, or None for the container's own.
        crf: constant rate factor, or None for the default.

    Raises:
        OutputError: what does not go together, and what would.
    """
    name = name or CONTAINERS[suffix.lower()].codec
    codec = CODECS.get(name)
    if codec is None:
        raise OutputError(f"There is no codec {name}. Expected one of {', '.join(CODECS)}.")
    if suffix.lower() not in codec.fits:
        taken = ", ".join(other for other, entry in CODECS.items() if suffix.lower() in entry.fits)
        raise OutputError(
            f"{suffix} cannot take {name}; it takes {taken}, and {name} goes into {' '.join(codec.fits)}. "
            "Choose another codec or another suffix."
        )
    if crf is not None:
        _check_crf(name, codec, crf)
    try:
        av.codec.Codec(codec.encoder, "w")
    except ValueError as exc:
        raise OutputError(
            f"{name} is written by {codec.encoder}, which FFmpeg in PyAV {av.__version__} lacks here. "
            "Choose another codec."
        ) from exc
    if codec.hardware:
        _try_out(name, codec)


def _check_crf(name: str, codec: Codec, crf: int) -> None:
    if codec.crf is None:
        having = ", ".join(other for other, entry in CODECS.items() if entry.crf)
        raise OutputError(f"{name} has no constant rate factor, got {crf}. Leave it out, or choose one of {having}.")
    _, smallest, largest = codec.crf
    if not smallest <= crf <= largest:
        raise OutputError(f"The constant rate factor of {name} goes from {smallest} to {largest}, got {crf}.")


def _try_out(name: str, codec: Codec) -> None:
    """Open an encoder that may be in FFmpeg without its device or driver being there."""
    context = av.codec.CodecContext.create(codec.encoder, "w")
    context.width, context.height, context.pix_fmt = 256, 256, codec.formats[0]
    context.time_base, context.framerate, context.options = Fraction(1, 25), Fraction(25), dict(codec.options)
    try:
        context.open()
    except FFMPEG_ERRORS as exc:
        raise OutputError(
            f"{name} cannot be used here: FFmpeg has the encoder, but it does not open ({reason(exc)}). "
            "It needs a GPU with that encoder and its driver. Choose another codec."
        ) from exc


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder set up for frames of one size and depth.

    Attributes:
        name: FFmpeg's name of it.
        pixel_format: FFmpeg's name of what it is given.
        options: its options.
        fastest: frames a second beyond which it refuses.
        full_range: whether its pixels may use the full range.
        notes: what of the frames is not as in the source.
    """

    name: str
    pixel_format: str
    options: dict[str, str]
    fastest: int | None
    full_range: bool
    notes: tuple[str, ...]


def choose_encoder(kind: Container, options: WriteOptions, size: tuple[int, int], depth: int) -> Encoder:
    """The encoder for frames of ``size`` (height, width), given as 8 bits or as 16 that stand for ``depth`` bits.

    Raises:
        ItemFailed: the encoder does not take that size.
    """
    name = options.codec or kind.codec
    codec = CODECS[name]
    if size[1] < codec.narrowest:
        raise ItemFailed(
            f"The frames are {size[1]} pixels wide, and {name} is written from {codec.narrowest} on. "
            "Choose another codec."
        )
    settings = dict(codec.options)
    if kind.in_order:
        settings |= codec.in_order
    if codec.crf and options.crf is not None:
        settings[codec.crf[0]] = str(options.crf)
    if codec.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "0")  # it prints what it thinks of its options, and knows no other switch
    even, odd = codec.deep_formats if codec.deep_formats and depth > 8 else codec.formats
    notes = []
    held = 8 if codec.deep_formats is None else 10
    if depth > held:
        notes.append(f"{depth}-bit depth reduced to {held}")
    pixel_format = even
    if any(side % 2 for side in size) and odd != even:
        pixel_format = odd
        notes.append(f"odd size {size[1]}x{size[0]}: written as {odd}, which not every player shows")
    return Encoder(codec.encoder, pixel_format, settings, codec.fastest, codec.full_range, tuple(notes))
