"""Files as an archive of a stranger may hold them: broken, lying, swollen, under other names, and no files at all.

``KINDS`` is the list; ``write_hostile`` makes some of each. What becomes of one is ``failed`` unless it says otherwise.
"""

from __future__ import annotations

import functools
import gzip
import io
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from helpers.image_support import chunk, png
from helpers.support import make_clip, photo_crops

HUGE = 60_000


class Bait(NamedTuple):
    """What hostile files point to and nobody may open: a clip outside the inputs, and a web server."""

    clip: Path
    address: str


class Kind(NamedTuple):
    """One way to be hostile.

    Attributes:
        suffix: of the file.
        make: gives its bytes, or makes it itself and gives None; takes (path, random numbers, bait).
        fates: what may become of it: a status of the record, or ``ignored`` where it is no input.
        why: why another fate than ``failed`` is right.
        name: its file name from its number; None is the kind's own.
    """

    suffix: str
    make: Callable[[Path, np.random.Generator, Bait], bytes | None]
    fates: tuple[str, ...] = ("failed",)
    why: str = ""
    name: Callable[[int], str] | None = None


class Placed(NamedTuple):
    """A hostile file that was written."""

    kind: str
    name: str
    fates: tuple[str, ...]


@functools.cache
def picture(form: str, mode: str = "RGB", frames: int = 1, **options: object) -> bytes:
    """160x160 pixels of a photograph in one of Pillow's formats."""
    images = [Image.fromarray(frame).convert(mode) for frame in photo_crops(1 + frames, 160)[1:]]
    if frames > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": 40}
    buffer = io.BytesIO()
    images[0].save(buffer, form, **options)
    return buffer.getvalue()


@functools.cache
def clip(suffix: str, count: int = 30) -> bytes:
    """Frames of 128x96, 25 a second."""
    with tempfile.TemporaryDirectory() as folder:
        frames = np.repeat(photo_crops(-(-count // 5), 128), 5, axis=0)[:count, :96]
        return make_clip(Path(folder) / f"clip{suffix}", frames).read_bytes()


def cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: int(len(data) * random.uniform(0.2, 0.8))]


def garbled(data: bytes, random: np.random.Generator, count: int = 400) -> bytes:
    at = int(len(data) * random.uniform(0.4, 0.6))
    return data[:at] + random.bytes(count) + data[at + count :]


def boxed(data: bytes, kind: bytes, size: int) -> bytes:
    """With another size for the first box of a kind."""
    at = data.index(kind)
    return data[: at - 4] + struct.pack(">I", size) + data[at:]


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


@functools.cache
def swollen() -> bytes:
    """A gibibyte of zeros in a mebibyte: the same compressed block over and over, and their sum."""
    pack = zlib.compressobj(9, wbits=-15)
    block = pack.compress(bytes(1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * 1024 + b"\x03\x00" + struct.pack(">HH", (1 << 30) % 65521, 1)


def bad_crc(random: np.random.Generator) -> bytes:
    data = bytearray(picture("PNG"))
    data[data.index(b"IEND") - 5 - int(random.integers(4))] ^= 0x55  # of the chunk before, the last one with pixels
    return bytes(data)


def swollen_png(side: int) -> bytes:
    """A grey picture whose pixels expand to a gibibyte, whatever size it announces."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", swollen()) + chunk(b"IEND", b"")


def swollen_behind(kind: bytes, name: bytes) -> bytes:
    data = picture("PNG")
    return data[:33] + chunk(kind, name + swollen()) + data[33:]


def tiff(side: int, *more: tuple[int, int, int, int], following: int = 0, tail: bytes = bytes(4096)) -> bytes:
    """A grey picture of 8 bits; ``more`` are (tag, type, number, value) instead of its own or besides."""
    own = {256: (4, side), 257: (4, side), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 512), 277: (3, 1)}
    own |= {278: (4, side), 279: (4, side * side)}
    entries = {tag: (type_, 1, value) for tag, (type_, value) in own.items()}
    entries |= {tag: (type_, number, value) for tag, type_, number, value in more}
    table = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + struct.pack("<I", following)
    return head.ljust(512, b"\x00") + tail


def bmp(width: int, height: int, pixels: int = 160 * 160 * 3) -> bytes:
    size = 54 + pixels
    return struct.pack("<2sIIIIiiHHIIIIII", b"BM", size, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(
        pixels
    )


def gif(width: int, height: int) -> bytes:
    body = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0x80) + bytes(6) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + body + b";"


def wide_webp() -> bytes:
    data = picture("WEBP", lossless=True)
    packed = int.from_bytes(data[21:25], "little")
    return data[:21] + struct.pack("<I", packed | 0x0FFFFFFF) + data[25:]


def sparse(path: Path, head: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def countless_samples(count: int) -> bytes:
    """A clip whose index speaks of that many frames of one byte in one chunk."""
    data = bytearray(clip(".mp4"))
    for table, numbers in ((b"stsz", (1, count)), (b"stsc", (1, 1, count, 1)), (b"stts", (1, count, 512))):
        at = data.index(table) + 8
        data[at : at + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    return bytes(data)


def made(data: Callable[[], bytes]) -> Callable[..., bytes]:
    return lambda path, random, bait: data()


def link_to(target: str) -> Callable[..., None]:
    return lambda path, random, bait: path.symlink_to(target.format(name=path.name))


def text(words: str) -> Callable[..., bytes]:
    return lambda path, random, bait: words.replace("BAIT", str(bait.clip)).replace("WEB", bait.address).encode()


M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
NO_CHECKSUM = "the format has no checksum: what still decodes cannot be told from what was meant"
CUT_CLIP = "what can be read is written, and the line says what is missing"
ALL_THERE = "every pixel is there; what is wrong lies beside them"
NO_FILE = "no file: it is counted as ignored and never opened"
GOOD = "only its name is odd"
LARGE = (266, 292, 293, 317, 320, 332, 334, 336, 338, 339, 347, 529, 530, 531, 532, 34665, 34675)
NAMES = {
    "lines": "new\nline\r-{0}.png",
    "bytes that are no UTF-8": "not-utf8-\udcff\udcfe-{0}.png",
    "half a surrogate": "surrogate-\udced\udca0\udc80-{0}.png",
    "terminal escapes": "\x1b[31m\x1b]0;title\x07\x7f-{0}.png",
    "text that runs backwards": "\u202egnp-{0}.png",
    "a dash": "-rf-{0}.png",
    "an option": "--overwrite-{0}.jpg",
    "commands": "$(reboot)`reboot`%s%n{{}}-{0}.png",
    "an address": "http:x-{0}.png",
    "markup": "[red]markup[bold]-{0}.png",
    "255 bytes": "x" * 247 + "-{0:03d}.png",
}
SHORT_NAMES = tuple(NAMES.values())[:-1]

KINDS: dict[str, Kind] = {
    "jpeg cut": Kind(".jpg", lambda path, random, bait: cut(picture("JPEG"), random)),
    "jpeg damaged in the middle": Kind(".jpg", lambda path, random, bait: garbled(picture("JPEG", quality=90), random)),
    "jpeg, progressive, cut": Kind(".jpg", lambda path, random, bait: cut(picture("JPEG", progressive=True), random)),
    "jpeg of 60000x60000": Kind(
        ".jpg", made(lambda: replaced(picture("JPEG"), struct.pack(">HH", 160, 160), struct.pack(">HH", HUGE, HUGE)))
    ),
    "jpeg of endless scans": Kind(".jpg", made(lambda: picture("JPEG", progressive=True)[:-2] + b"\xff\xda" * 600)),
    "jpeg with a broken EXIF block": Kind(
        ".jpg", made(lambda: picture("JPEG", exif=b"Exif\x00\x00" + b"MM\x00*\xff" * 9)), ("done",), ALL_THERE
    ),
    "png cut": Kind(".png", lambda path, random, bait: cut(picture("PNG"), random)),
    "png with a wrong CRC": Kind(".png", lambda path, random, bait: bad_crc(random)),
    "png damaged in the middle": Kind(".png", lambda path, random, bait: garbled(picture("PNG"), random)),
    "png of 60000x60000": Kind(".png", made(lambda: png(HUGE, HUGE, 8, 2, bytes(1000)))),
    "png of 0x0": Kind(".png", made(lambda: png(0, 0, 8, 2, b""))),
    "png that expands to a gibibyte": Kind(".png", made(lambda: swollen_png(32_768))),
    "png whose profile expands to a gibibyte": Kind(
        ".png", made(lambda: swollen_behind(b"iCCP", b"x\x00\x00")), ("done", "failed"), ALL_THERE
    ),
    "png whose text expands to a gibibyte": Kind(
        ".png", made(lambda: swollen_behind(b"zTXt", b"x\x00\x00")), ("done", "failed"), ALL_THERE
    ),
    "png with a gibibyte behind its rows": Kind(".png", made(lambda: swollen_png(64)), ("done", "failed"), ALL_THERE),
    "apng": Kind(".png", made(lambda: picture("PNG", frames=3))),
    "gif, animated": Kind(".gif", made(lambda: picture("GIF", "P", frames=3))),
    "gif of 60000x60000": Kind(".gif", made(lambda: gif(HUGE, HUGE))),
    "gif cut": Kind(".gif", lambda path, random, bait: cut(picture("GIF", "P"), random)),
    "webp, animated": Kind(".webp", made(lambda: picture("WEBP", frames=3))),
    "webp of 16384x16384": Kind(".webp", made(wide_webp)),
    "webp cut": Kind(".webp", lambda path, random, bait: cut(picture("WEBP"), random)),
    "webp damaged in the middle": Kind(
        ".webp", lambda path, random, bait: garbled(picture("WEBP"), random), ("failed", "done"), NO_CHECKSUM
    ),
    "avif cut": Kind(".avif", lambda path, random, bait: cut(picture("AVIF"), random)),
    "avif, animated": Kind(".avif", made(lambda: picture("AVIF", frames=3))),
    "avif whose box has no room for itself": Kind(
        ".avif", made(lambda: boxed(picture("AVIF"), b"meta", 2))
    ),
    "avif whose box reaches beyond the file": Kind(
        ".avif", made(lambda: boxed(picture("AVIF"), b"iprp", 0x7FFFFFFF))
    ),
    "avif of 60000x60000": Kind(
        ".avif", made(lambda: replaced(picture("AVIF"), struct.pack(">II", 160, 160), struct.pack(">II", HUGE, HUGE)))
    ),
    "bmp of 60000x-60000": Kind(".bmp", made(lambda: bmp(HUGE, -HUGE))),
    "bmp of -160x160": Kind(".bmp", made(lambda: bmp(-160, 160))),
    "bmp of the smallest number": Kind(".bmp", made(lambda: bmp(1, -(1 << 31)))),
    "bmp cut": Kind(".bmp", lambda path, random, bait: cut(picture("BMP"), random)),
    "tiff of 60000x60000": Kind(".tif", made(lambda: tiff(HUGE, (279, 4, 1, 4096)))),
    "tiff whose pages lead back": Kind(".tif", made(lambda: tiff(64, following=8))),
    "tiff whose pages lead outside": Kind(".tif", made(lambda: tiff(64, following=0x7FFFFFFF))),
    "tiff whose pixels lie outside": Kind(".tif", made(lambda: tiff(64, (273, 4, 1, 0x7FFFFFF0)))),
    "tiff of 4 billion strips": Kind(".tif", made(lambda: tiff(64, (273, 4, 0xFFFFFFFF, 512)))),
    "tiff of 16 million strips": Kind(
        ".tif",
        lambda path, random, bait: sparse(path, tiff(4096, (273, 4, 1 << 24, 512), (279, 4, 1 << 24, 512)), 1 << 27),
    ),
    "tiff of 60 million depths": Kind(
        ".tif", lambda path, random, bait: sparse(path, tiff(64, (258, 1, 60_000_000, 512)), 1 << 26)
    ),
    "tiff of a gibibyte of tags": Kind(
        ".tif", lambda path, random, bait: sparse(path, tiff(64, *((tag, 7, 1 << 26, 0) for tag in LARGE)), 1 << 26)
    ),
    "tiff of 65535 tags": Kind(".tif", made(lambda: (d := tiff(64))[:8] + b"\xff\xff" + d[10:])),
    "tiff with tiles of 60000x60000": Kind(
        ".tif", made(lambda: tiff(64, (322, 4, 1, HUGE), (323, 4, 1, HUGE), (324, 4, 1, 512), (325, 4, 1, 4096)))
    ),
    "tiff cut": Kind(".tif", lambda path, random, bait: cut(picture("TIFF", compression="tiff_lzw"), random)),
    "empty picture": Kind(".png", made(lambda: b"")),
    "empty clip": Kind(".mp4", made(lambda: b"")),
    "zeros named .jpg": Kind(".jpg", made(lambda: bytes(65536))),
    "zeros named .avi": Kind(".avi", made(lambda: bytes(1 << 20))),
    "random bytes named .webp": Kind(".webp", lambda path, random, bait: random.bytes(20_000)),
    "random bytes named .ts": Kind(".ts", lambda path, random, bait: random.bytes(200_000)),
    "a tebibyte named .png": Kind(".png", lambda path, random, bait: sparse(path, picture("PNG"), 1 << 40)),
    "a tebibyte named .tif": Kind(".tif", lambda path, random, bait: sparse(path, tiff(64)[:8], 1 << 40)),
    "a tebibyte named .mkv": Kind(".mkv", lambda path, random, bait: sparse(path, b"", 1 << 40)),
    "text named .png": Kind(".png", text("Dear reader,\n")),
    "html named .jpg": Kind(".jpg", text("<!DOCTYPE html><html><body>404 Not Found</body></html>")),
    "svg named .png": Kind(".png", text(SVG)),
    "eps named .png": Kind(".png", text("%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n")),
    "gzip named .png": Kind(".png", made(lambda: gzip.compress(picture("PNG"), mtime=0))),
    "clip named .png": Kind(".png", made(lambda: clip(".mp4"))),
    "picture named .mp4": Kind(".mp4", made(lambda: picture("PNG"))),
    "gif named .mp4": Kind(".mp4", made(lambda: picture("GIF", "P", frames=3))),
    "mp4 without its index": Kind(".mp4", made(lambda: (d := clip(".mp4"))[: d.rindex(b"moov") - 4])),
    "mp4 cut": Kind(".mp4", lambda path, random, bait: cut(clip(".mp4"), random)),
    "mp4 of 50 million frames": Kind(".mp4", made(lambda: countless_samples(50_000_000))),
    "mkv cut": Kind(".mkv", lambda path, random, bait: cut(clip(".mkv"), random), ("partial", "failed"), CUT_CLIP),
    "mkv damaged in the middle": Kind(
        ".mkv", lambda path, random, bait: garbled(clip(".mkv"), random), ("partial", "failed", "done"), NO_CHECKSUM
    ),
    "avi cut": Kind(".avi", lambda path, random, bait: cut(clip(".avi"), random), ("partial", "failed"), CUT_CLIP),
    "y4m of 30000x30000": Kind(".y4m", made(lambda: b"YUV4MPEG2 W30000 H30000 F25:1 C420\nFRAME\n" + bytes(999))),
    "play list of files": Kind(".mp4", text(M3U8.format("BAIT"))),
    "play list of /etc": Kind(".ts", text(M3U8.format("/etc/passwd"))),
    "play list of the web": Kind(".mp4", text(M3U8.format("WEB"))),
    "concat script": Kind(".mp4", text("ffconcat version 1.0\nfile 'BAIT'\nfile '/etc/passwd'\n")),
    "session description": Kind(".mkv", text(SDP)),
    "link to itself": Kind(".png", link_to("{name}")),
    "link to nothing": Kind(".mp4", link_to("nowhere.mp4")),
    "link to /etc/passwd": Kind(".png", link_to("/etc/passwd")),
    "link to a folder": Kind(".png", link_to("/tmp"), ("ignored",), NO_FILE),
    "link to /dev/zero": Kind(".png", link_to("/dev/zero"), ("ignored",), NO_FILE),
    "link to standard input": Kind(".mp4", link_to("/dev/stdin"), ("ignored",), NO_FILE),
    "pipe named .png": Kind(".png", lambda path, random, bait: os.mkfifo(path), ("ignored",), NO_FILE),
    "pipe named .mp4": Kind(".mp4", lambda path, random, bait: os.mkfifo(path), ("ignored",), NO_FILE),
    "socket": Kind(".png", lambda path, random, bait: os.mknod(path, stat.S_IFSOCK | 0o600), ("ignored",), NO_FILE),
    "folder named .png": Kind(".png", lambda path, random, bait: path.mkdir(), ("ignored",), NO_FILE),
    "of another kind": Kind(".exe", text("MZ"), ("ignored",), "its suffix is none that is read"),
    "hidden": Kind(".png", text("x"), ("ignored",), "hidden files are left alone", ".hidden-{0}.png".format),
    **{f"rubbish, its name {what}": Kind(".png", text("rubbish"), name=name.format) for what, name in NAMES.items()},
    "picture with an odd name": Kind(
        ".png",
        made(lambda: picture("PNG")),
        ("done",),
        GOOD,
        lambda number: SHORT_NAMES[number % len(SHORT_NAMES)].format(f"p{number}"),
    ),
    "clip with an address for a name": Kind(
        ".mp4",
        made(lambda: clip(".mp4")),
        ("done",),
        GOOD,
        lambda number: ("file:{0}.mp4", "http:x{0}.mp4", "concat:a|{0}.mp4")[number % 3].format(number),
    ),
    "clip whose output's name is too long": Kind(
        ".ts", made(lambda: clip(".ts")), name=lambda number: f"{number:03d}" + "t" * 249 + ".ts"
    ),
    "names that collide": Kind(
        ".png",
        made(lambda: picture("PNG")),
        ("done",),
        "both are written, under names with their suffix",
        lambda number: f"collide-{number // 2}{('.png', '.jpg')[number % 2]}",
    ),
    "names that differ in case": Kind(
        ".png",
        made(lambda: picture("PNG")),
        ("done",),
        "both are written, under two names on every file system",
        lambda number: f"{('case', 'CASE')[number % 2]}-{number // 2}.png",
    ),
}  # fmt: skip


def write_hostile(folder: Path, copies: int, bait: Bait) -> list[Placed]:
    """Write so many files of each kind, each another one where chance has a part in it."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    placed = []
    for title, kind in KINDS.items():
        for number in range(copies):
            stem = title.replace("/", "_").replace(".", "_")
            name = kind.name(number) if kind.name else f"{stem}-{number}{kind.suffix}"
            path = folder / name
            assert not os.path.lexists(path), name
            data = kind.make(path, random, bait)
            if data is not None:
                path.write_bytes(data)
            placed.append(Placed(title, name, kind.fates))
    return placed


def write_any_size_identity(path: Path) -> Path:
    """An ONNX file that gives back frames of any size, so that outputs can be held against inputs pixel by pixel."""
    import onnx

    from helpers.networks import write_identity
    from p2p_deploy.spec import METADATA_KEY, ModelSpec

    model = onnx.load(write_identity(path))
    for value in (*model.graph.input, *model.graph.output):
        for axis in (1, 2):
            value.type.tensor_type.shape.dim[axis].dim_param = ("height", "width")[axis - 1]
    (held,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    held.value = ModelSpec.from_json(held.value).with_changes(fixed_size=None).to_json()
    onnx.save(model, path)
    return path
