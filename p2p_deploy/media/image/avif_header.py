"""The boxes of an AVIF file that say what OpenCV does not: size, bits, orientation and profile."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from p2p_deploy.media.image.header import Header, Unreadable

_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
# (rotation to the left in quarters, mirrored left to right or top to bottom) as one number of EXIF.
_ORIENTATIONS = {
    (0, None): 1,
    (1, None): 8,
    (2, None): 3,
    (3, None): 6,
    (0, 0): 4,
    (0, 1): 2,
    (1, 0): 5,
    (1, 1): 7,
    (2, 0): 2,
    (2, 1): 4,
    (3, 0): 7,
    (3, 1): 5,
}


def read_avif(data: bytes) -> Header:
    """The header of an AVIF file; raises Unreadable, IndexError or struct.error where it is not whole."""
    brands = next((data[start:end] for kind, start, end in _boxes(data, 0, len(data)) if kind == b"ftyp"), b"")
    if b"avif" not in brands and b"avis" not in brands:
        raise Unreadable(f"is damaged, or is no AVIF image but of the kind {brands[:4].decode('ascii', 'replace')!r}")
    meta = _inside(data, b"meta", 0, len(data))
    if meta is None:
        raise Unreadable("is damaged: it is an AVIF file without a header")
    start, end = meta[0] + 4, meta[1]
    properties = _inside(data, b"iprp", start, end)
    held = properties and _inside(data, b"ipco", *properties)
    if not properties or not held:
        raise Unreadable("is damaged: it is an AVIF file without a header")
    listed = list(_boxes(data, *held))
    sizes = [struct.unpack_from(">II", data, at + 4) for kind, at, _ in listed if kind == b"ispe"]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    alpha = any(kind == b"auxC" and data[at + 4 : stop].startswith(_ALPHA) for kind, at, stop in listed)
    depth, rotation, mirror, profile = 8, 0, None, None
    for index in _properties_of_primary(data, start, end, properties):
        if not 0 < index <= len(listed):
            continue
        kind, at, stop = listed[index - 1]
        if kind == b"av1C":
            depth = {0x40: 10, 0x60: 12}.get(data[at + 2] & 0x60, 8)
        elif kind == b"irot":
            rotation = data[at] & 3
        elif kind == b"imir":
            mirror = data[at] & 1
        elif kind == b"colr" and data[at : at + 4] in (b"prof", b"rICC"):
            profile = data[at + 4 : stop]
    return Header(
        "AVIF",
        height,
        width,
        alpha,
        animated=brands[:4] == b"avis",
        depth=depth,
        orientation=_ORIENTATIONS[rotation, mirror],
        profile=profile,
    )


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start and end of its content) of the boxes that lie beside each other in a stretch of the file."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        elif size == 0:
            size = end - start
        if size < head:
            raise Unreadable("is damaged: a box of the AVIF file has no room for itself")
        yield kind, start + head, min(start + size, end)
        start += size


def _inside(data: bytes, wanted: bytes, start: int, end: int) -> tuple[int, int] | None:
    return next(((at, stop) for kind, at, stop in _boxes(data, start, end) if kind == wanted), None)


def _properties_of_primary(data: bytes, start: int, end: int, properties: tuple[int, int]) -> list[int]:
    """The numbers, from 1, of the properties of the picture that is shown."""
    primary = _inside(data, b"pitm", start, end)
    table = _inside(data, b"ipma", *properties)
    if primary is None or table is None:
        return []
    wide = data[primary[0]] > 0
    item = int.from_bytes(data[primary[0] + 4 : primary[0] + (8 if wide else 6)], "big")
    at = table[0]
    wide, long = data[at] > 0, bool(data[at + 3] & 1)
    (entries,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(min(entries, 65536)):
        step = 4 if wide else 2
        found = int.from_bytes(data[at : at + step], "big")
        count = data[at + step]
        at += step + 1
        if found == item and long:
            return [struct.unpack_from(">H", data, at + 2 * place)[0] & 0x7FFF for place in range(count)]
        if found == item:
            return [data[at + place] & 0x7F for place in range(count)]
        at += count * (2 if long else 1)
    return []
