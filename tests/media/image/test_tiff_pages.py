"""TIFFs of many pages: read one at a time, written one after the other."""

import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from helpers.image_support import PHOTO, save
from helpers.support import leftovers, photo_crops
from PIL import Image, ImageSequence

from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.media import EndOfStream, Item, ReadOptions, open_sink, open_source
from p2p_deploy.media.base import Frame
from p2p_deploy.media.image.files import ImageSource, read_image
from p2p_deploy.media.image.tiff_sink import TiffSink

PAGES = photo_crops(5, 48)


def tiff(path, pages=PAGES, **options):
    first, *rest = (Image.fromarray(page) for page in pages)
    return save(path, first, save_all=True, append_images=rest, **options)


def decode_all(source):
    return [source.decode(item) for item in source.items()]


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_every_page_is_a_frame_in_order(tmp_path, options):
    source = ImageSource(tiff(tmp_path / "a.tif", **options))
    assert source.sequential
    assert source.expected_frames == source.pages == 5
    for index, (frame, pixels) in enumerate(decode_all(source)):
        assert (frame.index, frame.pts) == (index, index)
        np.testing.assert_array_equal(pixels, PAGES[index])
    with pytest.raises(EndOfStream):
        source.decode(Item(source.path, 5))
    source.close()
    source.close()


def test_a_single_page_is_an_image_like_any_other(tmp_path):
    source = ImageSource(tiff(tmp_path / "a.tif", PAGES[:1]))
    assert not source.sequential
    assert source.expected_frames == 1
    assert len(decode_all(source)) == 1


def test_pages_may_differ_and_go_out_as_they_came(tmp_path):
    rgba = np.dstack([PHOTO, PHOTO[:, :, 0]])
    deep = PHOTO[:, :, 1].astype(np.uint16) * 257
    pages = [PHOTO, PAGES[0], PHOTO[:, :, 0], deep, rgba, PHOTO[:, :, 2] > 100]
    profile = b"\x00" * 16 + b"RGB " + b"\x00" * 108
    source = ImageSource(tiff(tmp_path / "a.tif", pages, icc_profile=profile))
    decoded = decode_all(source)
    assert [(frame.channels, frame.depth) for frame, _ in decoded] == [(3, 8), (3, 8), (1, 8), (1, 16), (3, 8), (1, 8)]
    sink = open_sink(tmp_path / "out" / "b.tiff", source)
    for frame, pixels in decoded:
        sink.write(frame, pixels)
        assert not (tmp_path / "out" / "b.tiff").exists()
    sink.close()
    assert not leftovers(tmp_path)
    again = ImageSource(tmp_path / "out" / "b.tiff")
    for (frame, pixels), (_, expected) in zip(decode_all(again), decoded, strict=True):
        np.testing.assert_array_equal(pixels, expected)
        assert (frame.profile == profile) == (frame.channels == 3)
    with Image.open(tmp_path / "out" / "b.tiff") as written:
        for page, expected in zip(ImageSequence.Iterator(written), pages, strict=True):
            np.testing.assert_array_equal(
                np.asarray(page), np.uint8(255) * expected if expected.dtype == bool else expected
            )
    done, read_by_opencv = cv2.imreadmulti(str(tmp_path / "out" / "b.tiff"), flags=cv2.IMREAD_UNCHANGED)
    assert done
    assert len(read_by_opencv) == 6


def test_memory_holds_one_page(tmp_path):
    pages = [np.full((512, 512, 3), number, np.uint8) for number in range(30)]
    source = ImageSource(tiff(tmp_path / "a.tif", pages))
    sink = TiffSink(tmp_path / "b.tif")
    del pages
    tracemalloc.start()
    for item in source.items():
        sink.write(*source.decode(item))
    sink.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 512 * 512 * 3
    assert ImageSource(tmp_path / "b.tif").pages == 30


def test_an_output_that_holds_one_picture_is_refused_with_the_way_out(tmp_path):
    source = open_source(tiff(tmp_path / "a.tif"))
    with pytest.raises(ItemFailed, match=r"a.tif holds 5 pages, and PNG one. Run with `ext=same` \(or tiff\)."):
        open_sink(tmp_path / "a.png", source)


def test_under_another_suffix_the_first_page_is_taken_and_it_is_said(tmp_path):
    tiff(tmp_path / "a.tif").rename(tmp_path / "a.png")
    image, notes = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image, PAGES[0])
    assert notes == ("only the first page of a multi-page file",)


def test_reduced_copies_are_no_pages(tmp_path):
    path = tiff(tmp_path / "a.tif")
    data = bytearray(path.read_bytes())
    source = ImageSource(path)
    thumbnail = source._tiff.places[1]
    (count,) = struct.unpack_from("<H", data, thumbnail)
    assert struct.unpack_from("<H", data, thumbnail + 2)[0] != 254
    # The second page's first tag, its width, moves one on and a kind takes its place; its last one goes.
    entries = data[thumbnail + 2 : thumbnail + 2 + 12 * (count - 1)]
    kind = struct.pack("<HHII", 254, 4, 1, 1)
    data[thumbnail + 2 : thumbnail + 2 + 12 * count] = kind + entries
    path.write_bytes(data)
    source = ImageSource(path)
    assert source.pages == 4
    np.testing.assert_array_equal(decode_all(source)[1][1], PAGES[2])


def test_a_page_that_leads_back_is_noticed(tmp_path):
    path = tiff(tmp_path / "a.tif", PAGES[:2])
    data = bytearray(path.read_bytes())
    first, second = ImageSource(path)._tiff.places
    (count,) = struct.unpack_from("<H", data, second)
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    path.write_bytes(data)
    with pytest.raises(ItemFailed, match="its pages lead back"):
        decode_all(ImageSource(path))


def test_a_damaged_page_names_itself(tmp_path):
    path = tiff(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    source = ImageSource(path)
    page = source._tiff.page(2)
    at = page.numbers(273)[0]
    data = bytearray(path.read_bytes())
    data[at + 200 : at + 210] = bytes(10)
    path.write_bytes(data)
    source = ImageSource(path)
    source.decode(Item(path, 1))
    with pytest.raises(ItemFailed, match=r"a.tif, page 3 of 5, is damaged: TIFF_Error"):
        source.decode(Item(path, 2))
    source.decode(Item(path, 3))


def test_a_file_that_shrinks_while_it_is_read_is_one_failed_item(tmp_path):
    path = tiff(tmp_path / "a.tif")
    source = ImageSource(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ItemFailed, match="became shorter"):
        source.decode(Item(path, 4))


def test_the_limit_is_kept_page_by_page(tmp_path):
    source = ImageSource(tiff(tmp_path / "a.tif", [PAGES[0], PHOTO]), ReadOptions(max_pixels=48 * 48))
    source.decode(Item(source.path, 0))
    with pytest.raises(ItemFailed, match="page 2 of 2, is 64x96, 6,144 pixels, and at most 2,304"):
        source.decode(Item(source.path, 1))


def test_pixels_that_claim_to_be_huge_are_not_read(tmp_path):
    path = tiff(tmp_path / "a.tif", PAGES[:2])
    data = path.read_bytes()
    count = struct.pack("<HHII", 279, 4, 1, 48 * 48 * 3)
    assert data.count(count) == 2
    with path.open("wb") as file:
        file.write(data.replace(count, struct.pack("<HHII", 279, 4, 1, 1_000_000_000)))
        file.truncate(1 << 32)
    with pytest.raises(ItemFailed, match="pixels take 1,000,000,000 bytes"):
        ImageSource(path).decode(Item(path, 0))


def test_what_old_files_leave_out_is_found(tmp_path):
    path = tiff(tmp_path / "a.tif", PAGES[:1])
    data = path.read_bytes()
    count = struct.pack("<HHII", 279, 4, 1, 48 * 48 * 3)
    path.write_bytes(data.replace(count, struct.pack("<HHII", 279, 4, 1, 0)))
    np.testing.assert_array_equal(read_image(path)[0], PAGES[0])


def test_big_endian_files(tmp_path):
    pixels = np.array([[1, 2], [3, 60_000]], ">u2")
    tags = [(256, 3, 2), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 2)]
    tags.append((279, 4, 8))
    table = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in tags
    )
    head = b"MM\x00*" + struct.pack(">I", 16) + pixels.tobytes()
    (tmp_path / "a.tif").write_bytes(head + struct.pack(">H", len(tags)) + table + bytes(4))
    image, _ = read_image(tmp_path / "a.tif", deep=True)
    np.testing.assert_array_equal(image[:, :, 0], pixels)


def test_an_output_beyond_four_gigabytes_is_refused(tmp_path):
    sink = TiffSink(tmp_path / "a.tif")
    frame = Frame(0, (48, 48), 3)
    sink.write(frame, PAGES[0])
    sink._file.truncate(0xFFF00000)
    with pytest.raises(ItemFailed, match="4 GiB"):
        sink.write(frame, PAGES[1])
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_a_sink_that_was_given_nothing_or_no_disk(tmp_path):
    TiffSink(tmp_path / "a.tif").abort()
    (tmp_path / "out").write_text("a file where a folder is needed")
    with pytest.raises(Failed, match="cannot be written"):
        TiffSink(tmp_path / "out" / "a.tif").write(Frame(0, (48, 48), 3), PAGES[0])
