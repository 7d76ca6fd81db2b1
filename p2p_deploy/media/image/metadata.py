"""EXIF blocks and ICC profiles of still images, as far as pixels that were turned and run through a network need."""

from __future__ import annotations

import struct

import cv2

from p2p_deploy.pixels import Pixels

_ORIENTATION, _SHORT = 0x0112, 3
PROFILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff")
EXIF_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
_COLOURS = {3: b"RGB ", 1: b"GRAY"}


def made_upright(block: bytes) -> tuple[int, bytes | None]:
    """Take the orientation out of an EXIF block.

    Its thumbnail is taken off too: it would show the input.

    Args:
        block: as the file has it, with or without ``Exif`` in front.

    Returns:
        The orientation, from 1 to 8, and the block with 1 in its place; None where it cannot be read.
    """
    exif = bytearray(block.removeprefix(b"Exif\x00\x00"))
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(bytes(exif[:4]))
    if order is None:
        return 1, None
    orientation = 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", exif, entry)
            if tag == _ORIENTATION and kind == _SHORT and number == 1:
                (orientation,) = struct.unpack_from(order + "H", exif, entry + 8)
                struct.pack_into(order + "H", exif, entry + 8, 1)
        if any(exif[at + 2 + 12 * count : at + 6 + 12 * count]):
            struct.pack_into(order + "I", exif, at + 2 + 12 * count, 0)
    except struct.error:
        return orientation if 1 <= orientation <= 8 else 1, None
    return orientation if 1 <= orientation <= 8 else 1, bytes(exif)


def turned_upright(image: Pixels, orientation: int) -> Pixels:
    """Turn and mirror a stored picture, (H, W) or (H, W, C), as its orientation (EXIF, 1 to 8) says."""
    if orientation >= 5:
        image = cv2.transpose(image)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if flip is None else cv2.flip(image, flip)


def unsuitable(profile: bytes, channels: int, suffix: str) -> str | None:
    """Why an ICC profile cannot be written with an output of so many channels, in words; None if it can."""
    if suffix not in PROFILE_SUFFIXES:
        return f"{suffix[1:].upper()} holds none"
    meant = profile[16:20]
    if meant != _COLOURS[channels]:
        colours = meant.decode("ascii", "replace").strip()
        return f"it is for {colours}, and the output is {'RGB' if channels == 3 else 'grey'}"
    return None
