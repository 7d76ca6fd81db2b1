"""Bytes of an image file to upright RGB or grey pixels, alpha, and what belongs to them."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from p2p_deploy.media.codec_lines import STRAY_BYTES, listened_to
from p2p_deploy.media.image.header import Header, Unreadable
from p2p_deploy.media.image.header_readers import read_header
from p2p_deploy.media.image.metadata import made_upright, turned_upright
from p2p_deploy.media.image.tiff import EXIF, Page, Tiff, is_tiff
from p2p_deploy.pixels import Pixels

_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_WITH_ALPHA = cv2.IMREAD_UNCHANGED  # which ignores the orientation too
_AVIF_METADATA = re.compile(rb"(infe\x02.{7})(?:Exif|mime)", re.DOTALL)
MORE_PAGES = "only the first page of a multi-page file"
EXIF_BROKEN = "EXIF dropped: malformed"
_ANIMATED = "is animated, and only still images and videos are run. Make a video of it first: ffmpeg -i IN OUT.mp4"


class Decoded(NamedTuple):
    """An upright image.

    Attributes:
        pixels: (H, W, C) uint8 or uint16, RGB or grey.
        alpha: (H, W, 1) of the same depth, or None.
        profile: the ICC profile.
        exif: the EXIF block, its orientation the upright one.
        notes: what was lost or changed.
    """

    pixels: Pixels
    alpha: Pixels | None
    profile: bytes | None
    exif: bytes | None
    notes: tuple[str, ...]


def most_bytes(max_pixels: int) -> int:
    """The largest file that is read for one picture: pixels of 16 bits in four channels, and what may go with them."""
    return 8 * max_pixels + (1 << 26)


def decode_image(data: bytes, max_pixels: int, into: Pixels | None = None) -> Decoded:
    """Decode a file; of a TIFF, its first page. ``into`` is as of ``FrameSource.decode``.

    Raises:
        Unreadable: it is damaged, animated, too large or no image.
    """
    if is_tiff(data):
        tiff = Tiff(lambda at, count: data[at : at + count], len(data))
        decoded = decode_page(tiff, 0, max_pixels)
        return decoded._replace(notes=(*decoded.notes, MORE_PAGES)) if len(tiff.places) > 1 else decoded
    header = read_header(data)
    _check(header, max_pixels)
    if header.format == "GIF":
        return _split(_decode_with_pillow(data), header, ())
    said: list[str] = []
    try:
        image, kinds, blocks = _decode_with_opencv(data, header, said)
    except Unreadable:
        bare = _AVIF_METADATA.sub(rb"\1free", data[:500]) + data[500:] if header.format == "AVIF" else data
        if bare == data:
            raise
        # OpenCV knows the format by its first 500 bytes, and does not where an EXIF block lies just behind them.
        image, kinds, blocks = _decode_with_opencv(bare, header, said)
        said.append("EXIF dropped: not read from this AVIF")
    profile, exif, orientation = header.profile, None, header.orientation
    for kind, block in zip(kinds, blocks, strict=True):
        if kind == cv2.IMAGE_METADATA_EXIF:
            turn, exif = made_upright(block.tobytes())
            if exif is None:
                said.append(EXIF_BROKEN)
            if header.format != "AVIF":  # which says it in boxes of its own
                orientation = turn
        elif kind == cv2.IMAGE_METADATA_ICCP:
            profile = block.tobytes()
    if orientation != 1:
        image = turned_upright(image, orientation)
    if header.cmyk:
        _say_inks(profile, said)
        profile = None
    return _split(image, header, tuple(said), profile, exif, into)


def decode_page(tiff: Tiff, index: int, max_pixels: int) -> Decoded:
    """Decode a page of a TIFF. Raises like ``decode_image``."""
    page = tiff.page(index)
    header = page.header()
    _check(header, max_pixels, *page.tile)
    if page.deep and not page.plain:
        raise Unreadable("is a 16-bit TIFF of neither RGB nor grey; expected one of those, or 8 bits. Convert it first")
    data = tiff.cut_out(page, min(page.most_bytes, most_bytes(max_pixels)))
    said = ["EXIF dropped: not read from TIFF"] if EXIF in page.entries else []
    if header.alpha and not page.deep:  # libtiff's conversion blends it over black
        image = _decode_with_pillow(data)
    else:
        image = _decode_with_opencv(data, header, said)[0]
        if page.deep and image.dtype == np.uint16:
            image = _straight(image, page, said)
    profile = header.profile
    if header.cmyk:
        _say_inks(profile, said)
        profile = None
    return _split(turned_upright(image, header.orientation), header, tuple(said), profile)


def _check(header: Header, max_pixels: int, *tile: int) -> None:
    height, width = header.height, header.width
    if header.animated:
        raise Unreadable(_ANIMATED)
    if height * width > max_pixels:
        raise Unreadable(
            f"is {height}x{width}, {height * width:,} pixels, and at most {max_pixels:,} are decoded. If you trust it, "
            f"raise `max_pixels`"
        )
    if tile and tile[0] * tile[1] > max(max_pixels, 1 << 20):
        raise Unreadable(f"is damaged: its tiles are {tile[0]}x{tile[1]}")


def _decode_with_opencv(data: bytes, header: Header, said: list[str]) -> tuple[Any, Sequence[int], Sequence[Any]]:
    """Pixels in OpenCV's order, the kinds of metadata, and those."""
    array = np.frombuffer(data, np.uint8)
    flags = _WITH_ALPHA if header.alpha and header.key < 0 else _FLAGS
    try:
        (image, kinds, blocks), damage, stray = listened_to(lambda: cv2.imdecodeWithMetadata(array, flags=flags))
    except cv2.error as exc:
        raise Unreadable(f"cannot be decoded: {exc.err or exc}") from exc
    if damage:
        raise Unreadable(f"is damaged: {damage}. Take a whole copy of it")
    if image is None:
        raise Unreadable(f"is damaged, or is not an image OpenCV can decode ({len(data)} bytes)")
    if image.dtype not in (np.uint8, np.uint16):
        raise Unreadable(f"holds {image.dtype} values; expected 8- or 16-bit whole numbers")
    if stray:
        said.append(STRAY_BYTES)
    if header.depth > 8 and image.dtype == np.uint16:
        image = _widened(image, header.depth)
    return image, kinds, blocks


def _decode_with_pillow(data: bytes) -> Pixels:
    """Pixels in OpenCV's order: grey, BGR, or BGRA; of grey with alpha BGRA too. Alpha is straight."""
    from PIL import Image

    def decode() -> Pixels:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("L", "RGB", "RGBA"):
                return np.asarray(image)
            return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))

    try:
        pixels, damage, _ = listened_to(decode)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise Unreadable(f"is larger than Pillow decodes: {exc}") from exc
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as exc:
        raise Unreadable(f"is damaged: {str(exc).partition(' <')[0]}. Take a whole copy of it") from exc
    if damage:
        raise Unreadable(f"is damaged: {damage}. Take a whole copy of it")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return pixels


def _straight(image: Pixels, page: Page, said: list[str]) -> Pixels:
    """What OpenCV leaves as it is in 16 bits: white that is 0, and colours that are multiplied by their alpha."""
    if page.inverted:
        return ~image
    if page.premultiplied and image.ndim == 3 and image.shape[2] == 4:
        alpha = np.maximum(image[:, :, 3:], 1).astype(np.uint32)
        image[:, :, :3] = np.minimum((image[:, :, :3] * np.uint32(65535) + alpha // 2) // alpha, 65535)
    if page.header().grey:
        said.append("alpha channel dropped: not read from a 16-bit grey TIFF")
    return image


def _widened(image: Pixels, depth: int) -> Pixels:
    """10 or 12 bits to 16, white staying white."""
    largest = (1 << depth) - 1
    return ((image.astype(np.uint32) * 65535 + largest // 2) // largest).astype(np.uint16)


def _say_inks(profile: bytes | None, said: list[str]) -> None:
    said.append("CMYK converted to RGB")
    if profile is not None:
        said.append("ICC profile dropped: it is for CMYK")


def _split(
    image: Pixels,
    header: Header,
    notes: tuple[str, ...],
    profile: bytes | None = None,
    exif: bytes | None = None,
    into: Pixels | None = None,
) -> Decoded:
    """Colours in our order, and alpha beside them."""
    if image.ndim == 2:
        alpha = None
        if header.key >= 0:
            opaque = np.iinfo(image.dtype).max
            alpha = np.where(image == header.key, 0, opaque).astype(image.dtype)[:, :, None]
        return Decoded(image[:, :, None], alpha, profile, exif, notes)
    if image.shape[2] == 3:
        if into is None or into.shape != image.shape or into.dtype != image.dtype:
            into = image
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=into)
        return Decoded(into, None, profile, exif, notes)
    alpha = cv2.extractChannel(image, 3)[:, :, None]
    if header.format == "BMP" and not alpha.any():  # a mask for bits that nobody filled in
        alpha = None
    if header.grey:
        return Decoded(cv2.extractChannel(image, 0)[:, :, None], alpha, profile, exif, notes)
    return Decoded(cv2.cvtColor(image, cv2.COLOR_BGRA2RGB), alpha, profile, exif, notes)
