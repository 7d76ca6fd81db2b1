"""TIFF files as directories of pages, taken apart and put together without touching a pixel.

OpenCV and Pillow decode and encode pages. They are given one page at a time as a file of its own, cut out of a file of
any size, so that memory holds one page; and what they wrote is joined to a file of many pages in the same way.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from p2p_deploy.media.image.header import Header, Unreadable

KIND, ORIENTATION, EXTRA_SAMPLES, PROFILE, EXIF = 254, 274, 338, 34675, 34665
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_PLACES = {273: 279, 324: 325}  # offsets of strips and of tiles, and the tags of how many bytes each has
# What pixels are decoded with. Anything else is left out, since it may hold offsets that nobody here can move.
_KEPT = frozenset(
    (
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _SAMPLES, 278, _PLANAR, 292, 293, 317, 320),
        *(_TILE_WIDTH, _TILE_HEIGHT, 332, 334, 336, EXTRA_SAMPLES, 339, 347, 529, 530, 531, 532),
    )
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_OLD_JPEG, _CMYK = 6, 5
_MOST_PAGES = 65_536
_MOST_TAGS = 4096
_MOST_BYTES = 1 << 26  # of all tags of a page
_MOST_NUMBERS = 1 << 20  # of one tag: the tiles of the largest picture, if they were 16x16
_REDUCED_OR_MASK = 0b101  # kinds of page that are no picture of their own
TOO_LARGE = "is 4 GiB or more, which a TIFF cannot hold; write the pages to several files"


class Entry(NamedTuple):
    """A tag's type, how many of it there are, and the bytes of those."""

    type: int
    number: int
    data: bytes


class Page(NamedTuple):
    """A directory.

    Attributes:
        entries: by tag; of those that pixels need, and the profile.
        order: of bytes, as ``struct`` writes it.
        big: it is of a BigTIFF.
    """

    entries: dict[int, Entry]
    order: Literal["<", ">"]
    big: bool

    def numbers(self, tag: int, default: Sequence[int] = ()) -> Sequence[int]:
        """The whole numbers of a tag."""
        entry = self.entries.get(tag)
        if entry is None:
            return default
        if entry.type not in _NUMBERS or not entry.number:
            raise Unreadable(f"is damaged: tag {tag} of the TIFF holds no number")
        if entry.number > _MOST_NUMBERS:
            raise Unreadable(f"is damaged: tag {tag} of the TIFF holds {entry.number:,} numbers")
        return struct.unpack(f"{self.order}{entry.number}{_NUMBERS[entry.type]}", entry.data)

    def number(self, tag: int, default: int = 0) -> int:
        """The first of them."""
        return self.numbers(tag, (default,))[0]

    def header(self) -> Header:
        """What the page says of itself."""
        photometric, samples = self.number(_PHOTOMETRIC), self.number(_SAMPLES, 1)
        colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)
        # A fourth channel without a name is what OpenCV and others write for alpha; one that is named 0 is none.
        alpha = samples == colours + 1 and self.number(EXTRA_SAMPLES, 2) in (1, 2) and photometric in (0, 1, 2)
        orientation = self.number(ORIENTATION, 1)
        return Header(
            "TIFF",
            self.number(_HEIGHT),
            self.number(_WIDTH),
            alpha,
            alpha and colours == 1,
            photometric == _CMYK,
            orientation=orientation if 1 <= orientation <= 8 else 1,
            profile=self.entries[PROFILE].data if PROFILE in self.entries else None,
        )

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of its tiles; 0x0 where it has none."""
        return self.number(_TILE_HEIGHT), self.number(_TILE_WIDTH)

    @property
    def most_bytes(self) -> int:
        """More than its pixels can take, however badly they are compressed."""
        bits = sum(self.numbers(_BITS, (1,))) * (self.number(_SAMPLES, 1) if len(self.numbers(_BITS, (1,))) == 1 else 1)
        return self.number(_HEIGHT) * self.number(_WIDTH) * bits // 4 + (1 << 24)

    @property
    def premultiplied(self) -> bool:
        """Whether colours are stored multiplied by their alpha."""
        return self.number(EXTRA_SAMPLES) == 1

    @property
    def inverted(self) -> bool:
        """Whether 0 is white."""
        return self.number(_PHOTOMETRIC, 1) == 0

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits a channel, of colours that are RGB or grey."""
        return self.number(_BITS, 1) > 8

    @property
    def plain(self) -> bool:
        """Whether its colours are grey or RGB as they stand."""
        return self.number(_PHOTOMETRIC) in (0, 1, 2)


class Assembled(NamedTuple):
    """A page that was put together.

    Attributes:
        data: its bytes.
        directory: where in the file its directory will begin.
        pointer: where in the file the place of the next directory will stand; 0 is written there.
    """

    data: bytes
    directory: int
    pointer: int


def is_tiff(data: bytes) -> bool:
    """Whether a file that begins so is a TIFF."""
    return data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


class Tiff:
    """The pages of a TIFF.

    Args:
        read: gives so many bytes from an offset, or fewer at the end of the file.
        size: of the file in bytes.

    Attributes:
        places: where the directory of each page begins; reduced copies and masks are no pages.

    Raises:
        Unreadable: the chain of directories is broken.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size = read, size
        start = self._exactly(0, 8)
        if not is_tiff(start):
            raise Unreadable("is damaged: it is no TIFF")
        self._order: Literal["<", ">"] = "<" if start[:1] == b"I" else ">"
        self._big = start[2 if self._order == "<" else 3] == 0x2B
        self.places: list[int] = []
        (following,) = struct.unpack(self._order + "I", start[4:])
        if self._big:
            (following,) = struct.unpack(self._order + "Q", self._exactly(8, 8))
        seen: set[int] = set()
        while following:
            if following in seen:
                raise Unreadable("is damaged: its pages lead back to an earlier one")
            if len(seen) == _MOST_PAGES:
                raise Unreadable(f"has more than {_MOST_PAGES} pages")
            seen.add(following)
            page, after = self._directory(following, (KIND,))
            if not self.places or not page.number(KIND) & _REDUCED_OR_MASK:
                self.places.append(following)
            following = after
        if not self.places:
            raise Unreadable("is damaged: it is a TIFF without a page")

    def page(self, index: int) -> Page:
        """A page's directory."""
        wanted = (*_KEPT, ORIENTATION, PROFILE, EXIF, *_PLACES, *_PLACES.values())
        return self._directory(self.places[index], wanted)[0]

    def pieces(self, page: Page, most_bytes: int) -> tuple[int, list[bytes]]:
        """The tag of where a page's pixels are, of strips or of tiles, and those.

        Raises:
            Unreadable: its pixels are not all there, or are more than ``most_bytes`` bytes.
        """
        if page.number(_COMPRESSION, 1) == _OLD_JPEG:
            raise Unreadable("is a TIFF with JPEG compression of the kind given up in 1995. Convert it first")
        tag = next((tag for tag in _PLACES if tag in page.entries), 0)
        offsets = page.numbers(tag)
        counts = page.numbers(_PLACES.get(tag, 0))
        if not offsets:
            raise Unreadable("is damaged: a page has no pixels")
        if not any(counts):  # old files leave them out
            counts = [max(0, end - start) for start, end in itertools.pairwise((*offsets, self._size))]
        if len(counts) < len(offsets):
            raise Unreadable("is damaged: a page does not say where all of its pixels are")
        if sum(counts[: len(offsets)]) > most_bytes:
            raise Unreadable(f"is damaged: a page says that its pixels take {sum(counts):,} bytes")
        return tag, [self._exactly(at, count) for at, count in zip(offsets, counts, strict=False)]

    def cut_out(self, page: Page, most_bytes: int) -> bytes:
        """A page as a file of its own, neither turned nor with its profile. Raises like ``pieces``."""
        tag, pieces = self.pieces(page, most_bytes)
        entries = {tag: entry for tag, entry in page.entries.items() if tag in _KEPT}
        return assemble(page._replace(entries=entries), tag, pieces).data

    def _directory(self, at: int, wanted: Sequence[int]) -> tuple[Page, int]:
        """The wanted tags of a directory, and where the next one begins."""
        count_format, entry_format, inline = ("Q", "HHQ8s", 8) if self._big else ("H", "HHI4s", 4)
        head = struct.calcsize(self._order + count_format)
        (count,) = struct.unpack(self._order + count_format, self._exactly(at, head))
        if not 0 < count <= _MOST_TAGS:
            raise Unreadable(f"is damaged: a page of the TIFF has {count} tags")
        each = struct.calcsize(self._order + entry_format)
        table = self._exactly(at + head, count * each)
        entries = {}
        outside = 0
        for tag, type_, number, value in struct.iter_unpack(self._order + entry_format, table):
            if tag not in wanted or type_ not in _SIZES:
                continue
            length = number * _SIZES[type_]
            if length > inline:
                outside += length  # of all, since they may lie on each other
                if outside > _MOST_BYTES:
                    raise Unreadable(f"is damaged: tag {tag} of the TIFF says that it has {length:,} bytes")
                (place,) = struct.unpack(self._order + ("Q" if self._big else "I"), value)
                value = self._exactly(place, length)
            entries[tag] = Entry(type_, number, value[:length])
        following = self._exactly(at + head + len(table), inline)
        return Page(entries, self._order, self._big), int.from_bytes(
            following, "little" if self._order == "<" else "big"
        )

    def _exactly(self, at: int, count: int) -> bytes:
        if at + count > self._size:
            raise Unreadable(f"is damaged: it ends after {self._size:,} bytes, and {at + count:,} are spoken of")
        data = self._read(at, count)
        if len(data) < count:
            raise Unreadable("became shorter while it was read")
        return data


def assemble(page: Page, offsets_tag: int, pieces: Sequence[bytes], base: int | None = None) -> Assembled:
    """Put a page together: its pixels, its directory, which is the last one, and the values that lie outside of that.

    Args:
        page: the tags but those of where the pixels are.
        offsets_tag: of the pixels, strips or tiles.
        pieces: the strips or tiles.
        base: where in a file the page will begin, at an even number; None for a file of its own, with its first bytes.

    Raises:
        Unreadable: it does not fit below 4 GiB.
    """
    offset_type, code, inline = (16, "Q", 8) if page.big else (4, "I", 4)
    start = (16 if page.big else 8) if base is None else base
    lengths = [len(piece) for piece in pieces]
    offsets = [start + before for before in itertools.accumulate(lengths, initial=0)]
    end = offsets.pop()
    padding = b"\x00" * (end & 1)
    directory = end + len(padding)
    if not page.big and directory > 0xFFFF0000 - _MOST_BYTES:
        raise Unreadable(TOO_LARGE)

    def whole_numbers(numbers: Sequence[int]) -> Entry:
        return Entry(offset_type, len(numbers), struct.pack(f"{page.order}{len(numbers)}{code}", *numbers))

    entries = {**page.entries, offsets_tag: whole_numbers(offsets), _PLACES[offsets_tag]: whole_numbers(lengths)}
    count = struct.pack(page.order + ("Q" if page.big else "H"), len(entries))
    table, outside = [], b""
    values_at = directory + len(count) + len(entries) * (20 if page.big else 12) + inline
    for tag, entry in sorted(entries.items()):
        value = entry.data.ljust(inline, b"\x00")
        if len(entry.data) > inline:
            value = struct.pack(page.order + code, values_at + len(outside))
            outside += entry.data + b"\x00" * (len(entry.data) & 1)
        table.append(struct.pack(f"{page.order}HH{code}", tag, entry.type, entry.number) + value)
    head = b""
    if base is None:
        order = b"II" if page.order == "<" else b"MM"
        version = (43, 8, 0) if page.big else (42,)
        head = order + struct.pack(page.order + ("HHHQ" if page.big else "HI"), *version, directory)
    data = b"".join((head, *pieces, padding, count, *table, b"\x00" * inline, outside))
    return Assembled(data, directory, directory + len(count) + len(entries) * (20 if page.big else 12))
