"""What several tests of still images make and read."""

import struct
import zlib

from helpers.support import photo_crops
from p2p_deploy.media import Item, ReadOptions, WriteOptions
from p2p_deploy.media.image.files import ImageSink, ImageSource

PHOTO = photo_crops(2, 96)[1][:64]  # 64x96


def save(path, image, **options):
    image.save(path, **options)
    return path


def read(path, **options):
    source = ImageSource(path, ReadOptions(**options))
    frame, pixels = source.decode(Item(path, 0))
    assert frame.size == pixels.shape[:2]
    assert frame.depth == 8 * pixels.itemsize
    return frame, pixels


def write(path, frame, pixels, **options):
    sink = ImageSink(path, WriteOptions(**options))
    sink.write(frame, pixels)
    sink.close()
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour, rows, *before):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
