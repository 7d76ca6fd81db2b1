import zlib

import cv2
import numpy as np
import pytest
from helpers.support import imwrite, photo, photo_crops, write_images

from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.media.base import Frame
from p2p_deploy.media.image.files import ImageSink, encode_image, read_image


def test_colours_are_rgb(tmp_path):
    bgr = np.zeros((4, 4, 3), np.uint8)
    bgr[..., 2] = 200
    image, notes = read_image(imwrite(tmp_path / "red.png", bgr))
    assert image[0, 0].tolist() == [200, 0, 0]
    assert notes == ()


def test_grey_stays_grey(tmp_path):
    image, notes = read_image(imwrite(tmp_path / "grey.png", photo("camera.png")))
    np.testing.assert_array_equal(image, photo("camera.png"))
    assert image.shape[2] == 1
    assert notes == ()


def test_sixteen_bits_are_reduced_and_said(tmp_path):
    wide = np.array([[0, 257, 32768, 65535]], np.uint16)
    image, notes = read_image(imwrite(tmp_path / "wide.png", wide))
    assert image.ravel().tolist() == [0, 1, 128, 255]
    assert notes == ("16-bit depth reduced to 8",)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_dropped_alpha_channel_is_said(tmp_path, suffix):
    bgra = np.full((8, 8, 4), 128, np.uint8)
    image, notes = read_image(imwrite(tmp_path / f"alpha{suffix}", bgra))
    assert image.shape == (8, 8, 3)
    assert notes == ("alpha channel dropped",)


def test_further_pages_are_said(tmp_path):
    pages = [photo_crops(1, 16)[0], photo_crops(1, 16)[0]]
    assert cv2.imwritemulti(str(tmp_path / "pages.tiff"), pages)
    assert read_image(tmp_path / "pages.tiff")[1] == ("only the first page of a multi-page file",)


def png_chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("colour_type", "row", "transparency"), [(0, b"\x00\x80", b"\x00\x00"), (2, b"\xff\x00\x00" * 2, b"\x00\xff" * 3)]
)
def test_one_transparent_colour_in_a_png_is_said(tmp_path, colour_type, row, transparency):
    header = png_chunk(b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 1, 8, colour_type, 0, 0, 0]))
    rest = png_chunk(b"IDAT", zlib.compress(b"\x00" + row)) + png_chunk(b"IEND", b"")
    path = tmp_path / "transparent.png"
    for chunk, notes in ((b"", ()), (png_chunk(b"tRNS", transparency), ("alpha channel dropped",))):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk + rest)
        image, said = read_image(path)
        assert image.tobytes() == row
        assert said == notes


def test_transparent_entries_of_a_palette_are_said(tmp_path):
    header = png_chunk(b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 1, 8, 3, 0, 0, 0]))
    palette = png_chunk(b"PLTE", b"\xff\x00\x00\x00\x00\xff")
    rest = png_chunk(b"IDAT", zlib.compress(b"\x00\x00\x01")) + png_chunk(b"IEND", b"")
    path = tmp_path / "palette.png"
    for chunk, notes in ((b"", ()), (png_chunk(b"tRNS", b"\x00\xff"), ("alpha channel dropped",))):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + palette + chunk + rest)
        image, said = read_image(path)
        assert image.tolist() == [[[255, 0, 0], [0, 0, 255]]]
        assert said == notes


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tiff"])
def test_a_single_picture_has_nothing_to_say(tmp_path, suffix):
    (path,) = write_images(tmp_path, photo_crops(1, 16), suffix)
    assert read_image(path)[1] == ()


def test_the_exif_orientation_is_applied(tmp_path):
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20] = 255
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + tiff  # orientation 6: turn right
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    turned, _ = read_image(tmp_path / "turned.jpg")
    assert turned.shape == (40, 20, 3)
    assert turned[:15].mean() > 240
    assert turned[25:].mean() < 15


def test_float_images_are_refused(tmp_path):
    with pytest.raises(ItemFailed, match="float32 values"):
        read_image(imwrite(tmp_path / "float.tiff", np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_noticed(tmp_path, suffix, share):
    (path,) = write_images(tmp_path, photo_crops(1, 64), suffix)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ItemFailed, match="damaged"):
        read_image(path)


def test_a_jpeg_that_lacks_its_last_bytes_is_noticed(tmp_path):
    (path,) = write_images(tmp_path, photo_crops(1, 64), ".jpg")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ItemFailed, match="damaged"):
        read_image(path)


def test_a_png_comes_back_as_it_was(tmp_path):
    (path,) = write_images(tmp_path, photo_crops(1, 64))
    np.testing.assert_array_equal(read_image(path)[0], photo_crops(1, 64)[0])


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError):  # noqa: PT011
        encode_image(photo_crops(1, 8)[0], ".xyz")


def test_a_disk_that_takes_nothing_is_a_failure_of_the_run(tmp_path):
    (tmp_path / "out").write_text("a file where a folder is needed")
    sink = ImageSink(tmp_path / "out" / "a.png")
    with pytest.raises(Failed, match="cannot be written"):
        sink.write(Frame(0, (8, 8), 3), photo_crops(1, 8)[0])
