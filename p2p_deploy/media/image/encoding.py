"""RGB or grey pixels, alpha and what belongs to them to the bytes of an image file."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_deploy.files import write_failure
from p2p_deploy.media.base import Frame
from p2p_deploy.media.image.header import Unreadable
from p2p_deploy.media.image.metadata import EXIF_SUFFIXES, unsuitable
from p2p_deploy.media.image.tiff import EXTRA_SAMPLES, PROFILE, Assembled, Entry, Tiff, assemble
from p2p_deploy.pixels import Pixels, resize, to_depth

DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # which hold 16 bits a channel
TIFF_SUFFIXES = (".tif", ".tiff")
ALPHA_SUFFIXES = (".png", ".webp", ".avif", *TIFF_SUFFIXES)
# Of about the same loss on photographs, 37 dB.
_QUALITIES = {
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 95),
    ".jpeg": (cv2.IMWRITE_JPEG_QUALITY, 95),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 95),
    ".avif": (cv2.IMWRITE_AVIF_QUALITY, 90),
}
_BYTE, _SHORT, _STRAIGHT_ALPHA = 7, 3, 2


def encode(
    pixels_HWC: Pixels,
    suffix: str,
    *,
    quality: int | None = None,
    alpha: Pixels | None = None,
    profile: bytes | None = None,
    exif: bytes | None = None,
) -> NDArray[np.uint8]:
    """Encode (H, W, C), RGB or grey, in the format that ``suffix`` names.

    16-bit images keep their depth in ``DEEP_SUFFIXES`` and are written with 8 bits otherwise. What the format or the
    channels do not suit is left out; see ``writing_notes``.

    Args:
        pixels_HWC: of 8 or 16 bits.
        suffix: with its dot, in lower case.
        quality: of JPEG, WebP and AVIF, from 1 to 100; None for 95, of AVIF 90, which lose about the same.
        alpha: (H, W, 1) of any size and depth.
        profile: ICC profile.
        exif: EXIF block.

    Raises:
        ValueError: the format cannot hold this image.
    """
    if suffix in TIFF_SUFFIXES and (alpha is not None or profile is not None):
        return np.frombuffer(tiff_page(pixels_HWC, alpha, profile).data, np.uint8)
    if suffix not in DEEP_SUFFIXES:
        pixels_HWC = to_depth(pixels_HWC, np.uint8)
    bgr = _in_opencv_order(pixels_HWC, alpha if suffix in ALPHA_SUFFIXES else None)
    parameters: list[int] = []  # OpenCV's own for PNG, level 1 and runs only, are the fastest that serve flat areas too
    if suffix in _QUALITIES:
        which, default = _QUALITIES[suffix]
        parameters = [which, default if quality is None else quality]
    kinds, blocks = [], []
    if profile is not None and unsuitable(profile, pixels_HWC.shape[2], suffix) is None:
        kinds.append(cv2.IMAGE_METADATA_ICCP)
        blocks.append(np.frombuffer(profile, np.uint8))
    if exif is not None and suffix in EXIF_SUFFIXES:
        kinds.append(cv2.IMAGE_METADATA_EXIF)
        blocks.append(np.frombuffer(exif, np.uint8))
    try:
        if kinds:
            done, data = cv2.imencodeWithMetadata(suffix, bgr, kinds, blocks, parameters)
        else:
            done, data = cv2.imencode(suffix, bgr, parameters)
    except cv2.error as exc:
        raise ValueError(exc.err or str(exc)) from exc
    if not done:
        raise ValueError(f"OpenCV cannot write {suffix}")
    return data


def tiff_page(
    pixels_HWC: Pixels, alpha: Pixels | None = None, profile: bytes | None = None, base: int | None = None
) -> Assembled:
    """A page of a TIFF with alpha and profile; see ``encode`` and ``tiff.assemble``."""
    done, data = cv2.imencode(".tiff", _in_opencv_order(pixels_HWC, alpha))
    if not done:
        raise ValueError("OpenCV cannot write .tiff")
    encoded = data.tobytes()
    tiff = Tiff(lambda at, count: encoded[at : at + count], len(encoded))
    page = tiff.page(0)
    tag, pieces = tiff.pieces(page, len(encoded))
    if alpha is not None:
        page.entries[EXTRA_SAMPLES] = Entry(_SHORT, 1, _STRAIGHT_ALPHA.to_bytes(2, "little"))
    if profile is not None and unsuitable(profile, pixels_HWC.shape[2], ".tiff") is None:
        page.entries[PROFILE] = Entry(_BYTE, len(profile), profile)
    try:
        return assemble(page, tag, pieces, base)
    except Unreadable as exc:
        raise ValueError(str(exc)) from exc


def _in_opencv_order(pixels_HWC: Pixels, alpha: Pixels | None) -> Pixels:
    colours = pixels_HWC.shape[2] == 3
    if alpha is None:
        return cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR) if colours else pixels_HWC
    bgra: Pixels = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGRA if colours else cv2.COLOR_GRAY2BGRA)
    fitted = resize(to_depth(alpha, pixels_HWC.dtype.type), *pixels_HWC.shape[:2])
    cv2.insertChannel(fitted, bgra, 3)
    return bgra


def writing_notes(frame: Frame, output: Path, channels: int) -> list[str]:
    """What of a frame its output cannot hold, when it is written with so many channels to ``output``."""
    if frame.alpha is None and frame.profile is None and frame.exif is None:
        return []
    suffix = output.suffix.lower()
    notes = []
    if frame.alpha is not None and suffix not in ALPHA_SUFFIXES:
        notes.append(f"alpha channel dropped: {_name(suffix)} holds none")
    reason = unsuitable(frame.profile, channels, suffix) if frame.profile is not None else None
    if reason:
        notes.append(f"ICC profile dropped: {reason}")
    if frame.exif is not None and suffix not in EXIF_SUFFIXES:
        notes.append(f"EXIF dropped: not written to {_name(suffix)}")
    return notes


def _name(suffix: str) -> str:
    return {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())


def open_for_writing(path: Path, temporary: str) -> int:
    """A descriptor of ``temporary``, made anew; its folder is made when it turns out to be missing.

    Raises:
        ItemFailed, Failed: see ``files.write_failure``, which is told of ``path``.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        try:
            return os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(temporary, flags, 0o666)
    except OSError as exc:
        raise write_failure(path, exc) from exc
