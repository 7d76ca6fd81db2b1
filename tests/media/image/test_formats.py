"""What images come in: transparency, inks, palettes, depths, orientations, and what belongs to them."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.image_support import PHOTO, chunk, png, read, save, write
from PIL import Image, ImageCms

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.base import Frame
from p2p_deploy.media.image.files import WRITTEN_SUFFIXES, encode_image, writing_notes

RAMP = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PILLOW = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".avif": "AVIF", ".tiff": "TIFF", ".bmp": "BMP"}
LOSSLESS = {".webp": {"lossless": True, "exact": True}, ".avif": {"quality": 100, "subsampling": "4:4:4"}}


def close(image, expected, bound=3.0):
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < bound


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Maker"
    return block


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".tiff"])
def test_alpha_is_carried_straight(tmp_path, suffix):
    rgba = np.dstack([PHOTO, RAMP])
    path = save(tmp_path / f"in{suffix}", Image.fromarray(rgba), **LOSSLESS.get(suffix, {}))
    frame, pixels = read(path)
    assert frame.alpha.shape == (64, 96, 1)
    assert close(pixels, PHOTO)  # the colours where nothing shows, too
    assert close(frame.alpha[:, :, 0], RAMP)
    assert frame.notes == ()
    with Image.open(write(tmp_path / f"out{suffix}", frame, 255 - pixels, quality=100)) as written:
        assert written.mode == "RGBA"
        # encoders with loss may paint what is transparent as they like
        assert close(np.asarray(written)[:, 48:, :3], 255 - PHOTO[:, 48:], 4)
        assert close(np.asarray(written)[:, :, 3], RAMP)
    assert writing_notes(frame, tmp_path / "a.PNG", 3) == []
    assert writing_notes(frame, tmp_path / "a.jpg", 3) == ["alpha channel dropped: JPEG holds none"]
    assert close(read(write(tmp_path / "out.jpg", frame, pixels))[1], pixels, 6)


def test_alpha_follows_an_output_of_another_size_depth_and_channels(tmp_path):
    frame = Frame(0, (64, 96), 3, alpha=RAMP[:, :, None])
    grey = np.full((32, 48, 1), 30_000, np.uint16)
    again, pixels = read(write(tmp_path / "a.png", frame, grey))
    assert pixels.dtype == again.alpha.dtype == np.uint16
    assert pixels.shape == (32, 48, 3)
    assert (pixels == 30_000).all()
    assert np.abs(again.alpha[:, :, 0] / 257.0 - RAMP[::2, ::2]).max() < 3


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_grey_with_alpha_stays_grey(tmp_path, suffix):
    image = Image.fromarray(PHOTO[:, :, 0])
    image.putalpha(Image.fromarray(RAMP))
    frame, pixels = read(save(tmp_path / f"la{suffix}", image))
    np.testing.assert_array_equal(pixels, PHOTO[:, :, :1])
    np.testing.assert_array_equal(frame.alpha[:, :, 0], RAMP)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_premultiplied_colours_of_a_tiff_become_straight(tmp_path, compression):
    alpha = np.maximum(RAMP, 64)
    path = save(tmp_path / "a.tiff", Image.fromarray(np.dstack([PHOTO, alpha])), compression=compression)
    data = path.read_bytes()
    extra = struct.pack("<HHI", 338, 3, 1)
    assert data.count(extra + b"\x02") == 1
    premultiplied = np.dstack([np.rint(PHOTO * (alpha[:, :, None] / 255)).astype(np.uint8), alpha])
    path = save(tmp_path / "b.tiff", Image.fromarray(premultiplied), compression=compression)
    path.write_bytes(path.read_bytes().replace(extra + b"\x02", extra + b"\x01"))
    frame, pixels = read(path)
    assert close(pixels, PHOTO)
    np.testing.assert_array_equal(frame.alpha[:, :, 0], alpha)


def test_transparent_colours_and_palette_entries_are_alpha(tmp_path):
    grey = save(tmp_path / "grey.png", Image.fromarray(PHOTO[:, :, 0]), transparency=int(PHOTO[5, 5, 0]))
    frame, pixels = read(grey)
    assert pixels.shape == (64, 96, 1)
    np.testing.assert_array_equal(frame.alpha[:, :, 0], np.where(PHOTO[:, :, 0] == PHOTO[5, 5, 0], 0, 255))
    rgb = save(tmp_path / "rgb.png", Image.fromarray(PHOTO), transparency=tuple(map(int, PHOTO[5, 5])))
    np.testing.assert_array_equal(read(rgb)[0].alpha[:, :, 0], np.where((PHOTO[5, 5] == PHOTO).all(2), 0, 255))
    indexed = Image.fromarray(PHOTO).quantize(16)
    for suffix in (".png", ".gif"):
        path = save(tmp_path / f"p{suffix}", indexed, transparency=3)
        frame, pixels = read(path)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGBA"))
        np.testing.assert_array_equal(np.dstack([pixels, frame.alpha]), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_transparent_grey_value_of_any_depth(tmp_path, bits):
    row = b"\x00" + (struct.pack(">2H", 1, 9) if bits == 16 else bytes([0b00011011 if bits < 4 else 0x19]))
    width = 2 if bits == 16 else 8 // bits
    (tmp_path / "a.png").write_bytes(png(width, 1, bits, 0, row, chunk(b"tRNS", b"\x00\x01")))
    frame, pixels = read(tmp_path / "a.png")
    one = {1: 255, 2: 85, 4: 17, 16: 1}[bits]
    assert (frame.alpha == 0).any()
    np.testing.assert_array_equal(frame.alpha == 0, pixels == one)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "P", {}),
        ("a.bmp", "P", {}),
        ("a.tiff", "P", {}),
        ("a.gif", "P", {}),
        ("a.gif", "L", {}),
        ("a.png", "1", {}),
        ("a.bmp", "1", {}),
        ("a.tiff", "1", {}),
        ("a.tiff", "1", {"compression": "group3"}),
        ("a.tiff", "1", {"compression": "group4"}),
        ("a.png", "P", {"bits": 4}),
        ("a.png", "P", {"bits": 2}),
        ("a.tiff", "RGB", {"compression": "tiff_lzw"}),
        ("a.tiff", "RGB", {"compression": "tiff_adobe_deflate"}),
        ("a.tiff", "RGB", {"compression": "packbits"}),
        ("a.tiff", "RGB", {"compression": "jpeg", "quality": 95}),
        ("a.tiff", "RGB", {"big_tiff": True}),
        ("a.tiff", "CMYK", {}),
        ("a.jpg", "CMYK", {"quality": 98}),
        ("a.jpg", "L", {"progressive": True}),
    ],
)
def test_every_kind_is_read_as_pillow_reads_it(tmp_path, name, mode, options):
    image = Image.fromarray(PHOTO)
    image = image.quantize(2 ** options.get("bits", 8)) if mode == "P" else image.convert(mode)
    path = save(tmp_path / name, image, **options)
    frame, pixels = read(path)
    with Image.open(path) as expected:
        expected = np.asarray(expected.convert("L" if frame.channels == 1 else "RGB"))
    assert close(pixels, expected.reshape(pixels.shape), 1.5)
    assert np.abs(pixels.astype(int) - expected.reshape(pixels.shape)).max() <= 6
    assert frame.alpha is None
    assert frame.notes == (("CMYK converted to RGB",) if mode == "CMYK" else ())


def test_a_jpeg_of_ycck_is_read_as_pillow_reads_it(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).convert("CMYK").save(buffer, "JPEG", quality=98, icc_profile=PROFILE)
    data = buffer.getvalue().replace(b"Adobe\x00d\x00\x00\x00\x00\x00", b"Adobe\x00d\x00\x00\x00\x00\x02")
    assert data != buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(data)
    frame, pixels = read(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= 3
    assert frame.notes == ("CMYK converted to RGB", "ICC profile dropped: it is for CMYK")
    assert frame.profile is None


def test_an_interlaced_png(tmp_path):
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\x00" + row.tobytes() for y, x, dy, dx in passes for row in PHOTO[y::dy, x::dx])
    data = png(96, 64, 8, 2, rows)
    header = data[12:28] + b"\x01"
    (tmp_path / "a.png").write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    np.testing.assert_array_equal(read(tmp_path / "a.png")[1], PHOTO)


@pytest.mark.parametrize("depth", [10, 12])
def test_an_avif_of_more_bits_has_its_white_at_the_top(tmp_path, depth):
    deep = (PHOTO.astype(np.uint32)[:, :, ::-1] * ((1 << depth) - 1) // 255).astype(np.uint16)
    done, data = cv2.imencode(".avif", deep, [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100])
    assert done
    (tmp_path / "a.avif").write_bytes(data.tobytes())
    frame, pixels = read(tmp_path / "a.avif")
    assert frame.depth == 16
    assert close(pixels // 257, PHOTO)


def test_white_that_is_zero_is_turned_round_in_16_bits(tmp_path):
    deep = PHOTO[:, :, 0].astype(np.uint16) * 257
    path = save(tmp_path / "a.tiff", Image.fromarray(deep))
    np.testing.assert_array_equal(read(path)[1][:, :, 0], deep)
    data, black_is_zero = path.read_bytes(), struct.pack("<HHII", 262, 3, 1, 1)
    assert data.count(black_is_zero) == 1
    path.write_bytes(data.replace(black_is_zero, struct.pack("<HHII", 262, 3, 1, 0)))
    np.testing.assert_array_equal(read(path)[1][:, :, 0], 65535 - deep)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_other_numbers_than_whole_ones_of_8_or_16_bits_are_refused(tmp_path, mode):
    with pytest.raises(ItemFailed, match="values; expected 8- or 16-bit"):
        read(save(tmp_path / "a.tiff", Image.fromarray(PHOTO).convert("L").convert(mode)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tiff"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pictures_are_upright_and_their_exif_says_so(tmp_path, suffix, orientation, mode):
    if (suffix, mode) == (".jpg", "RGBA"):
        mode = "L"
    image = Image.fromarray(PHOTO)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(RAMP))
    path = save(tmp_path / f"a{suffix}", image.convert(mode), exif=exif(orientation))
    frame, pixels = read(path)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Image.Transpose
    upright = image.convert(mode).transpose(Image.Transpose(turns[orientation])) if orientation > 1 else image
    expected = np.asarray(upright.convert(mode))
    expected = expected if expected.ndim == 3 else expected[:, :, None]
    assert close(pixels[:, :, :3], expected[:, :, :3], 25 if mode == "RGBA" and suffix in LOSSLESS else 8)
    if mode == "RGBA":
        assert close(frame.alpha, expected[:, :, 3:])
    if suffix == ".tiff" or (suffix, mode, orientation) in ((".avif", "RGBA", 5), (".avif", "RGBA", 7)):
        assert "EXIF dropped" in " ".join(frame.notes) or suffix == ".tiff"  # its tags are not carried
        return
    with Image.open(write(tmp_path / "out.jpg", frame, pixels)) as written:
        assert written.getexif().get(0x0112, 1) == 1
        assert written.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [None, RAMP[:, :, None]])
@pytest.mark.parametrize("suffix", WRITTEN_SUFFIXES)
def test_profile_and_exif_are_written_where_the_format_has_them(tmp_path, suffix, alpha, channels):
    if suffix in (".png", ".jpg", ".webp", ".avif"):
        source = save(tmp_path / f"a{suffix}", Image.fromarray(PHOTO), exif=exif(6), icc_profile=PROFILE)
    else:
        source = save(tmp_path / "a.jpg", Image.fromarray(PHOTO), exif=exif(6), icc_profile=PROFILE)
    read_frame, pixels = read(source)
    assert read_frame.profile == PROFILE
    frame = Frame(0, (96, 64), 3, alpha=alpha, profile=PROFILE, exif=read_frame.exif)
    with Image.open(write(tmp_path / f"out{suffix}", frame, pixels[:, :, :channels].copy())) as written:
        written.load()
        assert written.size == (64, 96)
        has_profile, has_exif = written.info.get("icc_profile") == PROFILE, written.getexif().get(0x010F) == "Maker"
        assert ("A" in written.mode) == (alpha is not None and suffix in (".png", ".webp", ".avif", ".tif", ".tiff"))
    notes = " ".join(writing_notes(frame, tmp_path / f"a{suffix}", channels))
    assert has_profile == ("ICC" not in notes) == (channels == 3 and suffix != ".bmp")
    assert has_exif == ("EXIF" not in notes) == (suffix not in (".bmp", ".tif", ".tiff"))


def test_a_profile_in_a_tiff_is_read(tmp_path):
    frame, _ = read(save(tmp_path / "a.tiff", Image.fromarray(PHOTO), icc_profile=PROFILE))
    assert frame.profile == PROFILE


def test_an_exif_block_that_cannot_be_read_is_dropped_and_that_is_said(tmp_path):
    jpeg = encode_image(PHOTO, ".jpg")
    block = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\x00\x12\x01\x03\x00"
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:])
    frame, pixels = read(tmp_path / "a.jpg")
    assert frame.notes == ("EXIF dropped: malformed",)
    assert frame.exif is None
    assert pixels.shape == (64, 96, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality_is_what_it_says(tmp_path, suffix):
    frame = Frame(0, (64, 96), 3)
    sizes, losses = [], []
    for quality in (20, None, 100):
        path = write(tmp_path / f"a{suffix}", frame, PHOTO, quality=quality)
        sizes.append(path.stat().st_size)
        losses.append(np.abs(read(path)[1].astype(int) - PHOTO).mean())
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[2]
    assert losses[0] > losses[1] > losses[2]
