"""The first bytes of an image file, read before anything is decoded.

So a small file that announces a picture larger than memory is refused. The format is known by those bytes; the suffix
says nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from p2p_deploy.media.image.avif_header import read_avif
from p2p_deploy.media.image.header import Header, Unreadable

# Start of frame: SOF0 to SOF15 without DHT, JPG and DAC, which lie between them.
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_MOST_SEGMENTS = 10_000
_MOST_SCANS = 500  # a scan costs as much time as a picture; encoders make some ten


def _jpeg(data: bytes) -> Header:
    at = 2
    for _ in range(_MOST_SEGMENTS):
        at = data.index(b"\xff", at)
        marker = data[at + 1]
        if marker in _SOF:
            if marker in _PROGRESSIVE and data.count(b"\xff\xda") > _MOST_SCANS:
                raise Unreadable(f"is a JPEG of more than {_MOST_SCANS} scans; no encoder makes that many")
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            return Header("JPEG", height, width, cmyk=components == 4)
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD7:  # stuffed, stand-alone and fill bytes
            at += 1 if marker == 0xFF else 2
        elif marker in (0xD9, 0xDA):
            break
        else:
            at += 2 + (data[at + 2] << 8 | data[at + 3])
    raise Unreadable("is damaged: it is a JPEG without a start of frame")


def _png(data: bytes) -> Header:
    kind, width, height, bits, colour = struct.unpack_from(">4sIIBB", data, 12)
    if kind != b"IHDR":
        raise Unreadable("is damaged: it is a PNG without a header")
    at, transparent, frames, key = 33, False, 1, -1
    for _ in range(_MOST_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            alpha = colour in (4, 6) or transparent
            return Header("PNG", height, width, alpha, colour in (0, 4) and alpha, animated=frames > 1, key=key)
        if kind == b"tRNS":
            transparent = True
            if colour == 0:
                key = int.from_bytes(data[at + 8 : at + 10], "big") * {1: 255, 2: 85, 4: 17}.get(bits, 1)
        elif kind == b"acTL":
            frames = int.from_bytes(data[at + 8 : at + 12], "big")
        at += 12 + length
    raise Unreadable("is damaged: it is a PNG without pixels")


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return Header("WebP", height, width, bool(data[20] & 0x10), animated=bool(data[20] & 0x02))
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", 1 + (packed >> 14 & 0x3FFF), 1 + (packed & 0x3FFF), bool(packed >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("WebP", height & 0x3FFF, width & 0x3FFF)


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header("BMP", height, width)
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    alpha = size >= 56 and bits == 32 and any(data[66:70])  # the mask of the alpha channel
    return Header("BMP", abs(height), abs(width), alpha)


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    pictures = 0
    while at < len(data):
        block = data[at]
        if block == 0x2C:
            pictures += 1
            if pictures > 1:
                break
            left, top, columns, rows, flags = struct.unpack_from("<4HB", data, at + 1)
            width, height = max(width, left + columns), max(height, top + rows)
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif block == 0x21:
            at += 2
        else:  # the trailer
            break
        while data[at]:
            at += 1 + data[at]
        at += 1
    return Header("GIF", height, width, animated=pictures > 1)


_READERS: tuple[tuple[int, bytes, str, Callable[[bytes], Header]], ...] = (
    (0, b"\xff\xd8\xff", "JPEG", _jpeg),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", _png),
    (8, b"WEBP", "WebP", _webp),
    (0, b"BM", "BMP", _bmp),
    (4, b"ftyp", "AVIF", read_avif),
    (0, b"GIF8", "GIF", _gif),
)


def read_header(data: bytes) -> Header:
    """The header of a whole file; not for TIFF, whose pages ``tiff`` reads.

    Raises:
        Unreadable: it is of none of these formats, or its header is not whole.
    """
    for at, magic, name, reader in _READERS:
        if data.startswith(magic, at):
            try:
                return reader(data)
            except (IndexError, ValueError, struct.error) as exc:
                raise Unreadable(f"is damaged: its {name} header is cut short or broken") from exc
    raise Unreadable(f"is damaged, or is not an image of a format that is read here ({len(data)} bytes)")
