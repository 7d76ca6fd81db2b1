"""Damaged, lying and moving images: noticed, refused in a sentence, and quiet."""

import io
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from helpers.image_support import PHOTO, chunk, png, read
from helpers.support import ROOT, photo_crops
from PIL import Image

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import codec_lines
from p2p_deploy.media.image.decoding import decode_image
from p2p_deploy.media.image.files import encode_image, read_image
from p2p_deploy.media.image.header import Unreadable

BIG = photo_crops(2, 160)[1]
MOST = 10**7


def encoded(kind, mode="RGB", **options):
    buffer = io.BytesIO()
    image = Image.fromarray(BIG)
    if mode in ("RGBA", "LA"):
        image = image.convert(mode[:-1])
        image.putalpha(Image.fromarray(BIG[:, :, 1]))
    else:
        image = image.quantize(64) if mode == "P" else image.convert(mode)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": encoded("JPEG", quality=90),
    "jpeg progressive": encoded("JPEG", progressive=True),
    "jpeg restarts": encoded("JPEG", restart_marker_blocks=10),
    "jpeg cmyk": encoded("JPEG", "CMYK"),
    "png": encode_image(BIG, ".png"),
    "png of pillow": encoded("PNG"),
    "png alpha": encoded("PNG", "LA"),
    "png palette": encoded("PNG", "P"),
    "png 16": encode_image(BIG.astype(np.uint16) * 257, ".png"),
    "webp": encoded("WEBP"),
    "webp lossless": encoded("WEBP", lossless=True),
    "webp alpha": encoded("WEBP", "RGBA"),
    "avif": encoded("AVIF"),
    "avif alpha": encoded("AVIF", "RGBA"),
    "bmp": encoded("BMP"),
    "gif": encoded("GIF", "P"),
    "tiff": encode_image(BIG, ".tiff"),
    "tiff raw": encoded("TIFF"),
    "tiff big": encoded("TIFF", big_tiff=True),
    "tiff alpha": encoded("TIFF", "RGBA", compression="tiff_lzw"),
    "tiff deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": encoded("TIFF", compression="jpeg"),
    "tiff fax": encoded("TIFF", "1", compression="group4"),
}
# Where a byte in the middle cannot change without being noticed: every bit is under a checksum, or a fourth of a file.
CHECKED = ("png", "png of pillow", "png alpha", "png palette", "png 16", "avif", "avif alpha")
GARBAGE_NOTICED = (*CHECKED, "jpeg", "jpeg progressive", "jpeg cmyk", "tiff fax")


def outcome(data, whole):
    """None where the file is refused, else whether it is the undamaged picture."""
    try:
        got = decode_image(data, MOST)
    except Unreadable:
        return None
    same = got.pixels.shape == whole.pixels.shape and np.array_equal(got.pixels, whole.pixels)
    return same and (whole.alpha is None or np.array_equal(got.alpha, whole.alpha))


@pytest.fixture(params=FILES)
def name(request):
    return request.param


def test_a_file_cut_short_is_never_another_picture(name):
    data, whole = FILES[name], decode_image(FILES[name], MOST)
    with codec_lines.caught():
        for share in range(5, 100, 3):
            assert outcome(data[: len(data) * share // 100], whole) is None, share
        for missing in (1, 2, 5, 40):
            assert outcome(data[:-missing], whole) in (None, True), missing


def test_flipped_bits_are_noticed_or_cannot_be_known(name, capfd):
    data, whole = FILES[name], decode_image(FILES[name], MOST)
    random = np.random.default_rng(0)
    outcomes = []
    for _ in range(40):
        broken = bytearray(data)
        broken[int(random.integers(len(data) // 10, len(data)))] ^= 1 << int(random.integers(8))
        outcomes.append(outcome(bytes(broken), whole))
    assert name not in CHECKED or False not in outcomes
    assert capfd.readouterr() == ("", "")


def test_garbage_in_the_middle_is_noticed(name):
    data, whole = FILES[name], decode_image(FILES[name], MOST)
    random = np.random.default_rng(0)
    outcomes = []
    for _ in range(20):
        at = int(random.integers(len(data) // 3, len(data) * 2 // 3))
        outcomes.append(outcome(data[:at] + random.bytes(400) + data[at + 400 :], whole))
    assert name not in GARBAGE_NOTICED or set(outcomes) == {None}


def test_any_first_bytes_are_survived(name):
    data, whole = FILES[name], decode_image(FILES[name], MOST)
    random = np.random.default_rng(1)
    with codec_lines.caught():
        for _ in range(60):
            broken = bytearray(data)
            for at in random.integers(0, min(600, len(data)), 3):
                broken[at] = int(random.integers(256))
            assert outcome(bytes(broken), whole) in (None, True, False)  # nothing else is raised


def damaged_jpeg(seed=0):
    data = FILES["jpeg"]
    return data[: len(data) // 2] + np.random.default_rng(seed).bytes(300) + data[len(data) // 2 + 300 :]


def test_the_sentence_says_what_the_decoder_said(tmp_path, capfd):
    (tmp_path / "a.jpg").write_bytes(damaged_jpeg())
    with pytest.raises(ItemFailed, match=r"a.jpg is damaged: Corrupt JPEG data: .*\. Take a whole copy of it\.$"):
        read_image(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


def test_a_few_stray_bytes_at_the_end_are_a_note(capfd):
    data = FILES["jpeg"]
    padded = decode_image(data[:-2] + b"\x00\x00" + data[-2:], MOST)
    np.testing.assert_array_equal(padded.pixels, decode_image(data, MOST).pixels)
    assert padded.notes == (codec_lines.STRAY_BYTES,)
    with pytest.raises(Unreadable, match="59 extraneous bytes"):
        decode_image(data[:-2] + b"\x00" * 60 + data[-2:], MOST)
    assert capfd.readouterr() == ("", "")


def test_among_threads_the_right_file_is_blamed():
    broken, whole = damaged_jpeg(), decode_image(FILES["jpeg"], MOST).pixels

    def decode(index):
        if index % 5:
            return np.array_equal(decode_image(FILES["jpeg"], MOST).pixels, whole)
        with pytest.raises(Unreadable, match="Corrupt JPEG"):
            decode_image(broken, MOST)
        return True

    for _ in range(3):
        with codec_lines.caught(), ThreadPoolExecutor(8) as pool:
            assert all(pool.map(decode, range(200)))
    with ThreadPoolExecutor(8) as pool:  # and without a run around
        assert all(pool.map(decode, range(200)))


def test_a_harmless_warning_is_none(capfd):
    iccp = chunk(b"iCCP", b"name\x00\x00" + b"no profile at all")
    data = FILES["png"]
    decoded = decode_image(data[:33] + iccp + data[33:], MOST)
    np.testing.assert_array_equal(decoded.pixels, BIG)
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import os, sys, logging, subprocess
handler = logging.StreamHandler()
logging.getLogger().addHandler(handler)
from p2p_deploy.media import codec_lines
from p2p_deploy.media.image.decoding import decode_image
from p2p_deploy.media.image.header import Unreadable
data = open(sys.argv[1], "rb").read()
with codec_lines.caught():
    print("print", file=sys.stderr)
    logging.warning("log")
    os.write(2, b"native\\n")
    with codec_lines.caught():
        try:
            decode_image(data, 10**7)
        except Unreadable:
            print("noticed", file=sys.stderr)
    print("still caught", file=sys.stderr)
os.write(2, b"after\\n")
logging.warning("after log")
assert sys.stderr.name == "<stderr>" and sys.stderr.fileno() == 2
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_everybody_else_keeps_stderr(tmp_path, unbuffered):
    (tmp_path / "a.jpg").write_bytes(damaged_jpeg())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "a.jpg")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("\n") == ["print", "log", "noticed", "still caught", "native", "after", "after log", ""]


def test_opencv_logs_as_before():
    level = cv2.utils.logging.getLogLevel()
    decode_image(FILES["tiff"], MOST)
    assert cv2.utils.logging.getLogLevel() == level


def test_damage_is_noticed_where_stderr_is_closed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(damaged_jpeg())
    script = (
        "import os; os.close(2)\n"
        + SCRIPT.partition("with ")[0]
        + ("try:\n    decode_image(data, 10**7)\nexcept Unreadable as exc:\n    print(exc)\n")
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.jpg")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert "Corrupt JPEG data" in done.stdout


def test_an_exception_lets_stderr_go(tmp_path):
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        codec_lines.listened_to(fail)
    assert codec_lines.listened_to(lambda: 3) == (3, "", False)


def gif(width, height, *frames):
    body = b"".join(
        b"\x2c" + struct.pack("<4HB", 0, 0, *size, 0x80) + b"\x00" * 6 + b"\x02\x02\x4c\x01\x00" for size in frames
    )
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + body + b";"


def with_size(data, old, new):
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


HUGE = struct.pack(">HH", 60_000, 60_000)
BOMBS = {
    "a.png": png(60_000, 60_000, 8, 2, b"\x00" * 1000),
    "a.jpg": with_size(FILES["jpeg"], struct.pack(">HH", 160, 160), HUGE),
    "a.webp": with_size(
        FILES["webp lossless"],
        FILES["webp lossless"][21:25],
        struct.pack("<I", 16_383 << 14 | 16_383 | int.from_bytes(FILES["webp lossless"][21:25], "little") & 0xF << 28),
    ),
    "a.avif": with_size(FILES["avif"], struct.pack(">II", 160, 160), struct.pack(">II", 60_000, 60_000)),
    "a.bmp": with_size(FILES["bmp"], struct.pack("<ii", 160, 160), struct.pack("<ii", 60_000, -60_000)),
    "a.gif": gif(60_000, 60_000, (1, 1)),
    "frame.gif": gif(1, 1, (60_000, 60_000)),
    "a.tiff": with_size(
        with_size(FILES["tiff raw"], struct.pack("<HHII", 256, 4, 1, 160), struct.pack("<HHII", 256, 4, 1, 60_000)),
        struct.pack("<HHII", 257, 4, 1, 160),
        struct.pack("<HHII", 257, 4, 1, 60_000),
    ),
}


@pytest.mark.parametrize("file", BOMBS)
def test_a_small_file_that_announces_a_huge_picture_is_refused(tmp_path, file):
    (tmp_path / file).write_bytes(BOMBS[file])
    with pytest.raises(ItemFailed, match=r"pixels, and at most 178,956,970 are decoded.*`max_pixels`"):
        read_image(tmp_path / file)


def test_the_limit_is_the_callers(tmp_path):
    (tmp_path / "a.png").write_bytes(FILES["png"])
    assert read(tmp_path / "a.png", max_pixels=160 * 160)[1].shape == BIG.shape
    with pytest.raises(ItemFailed, match="160x160, 25,600 pixels, and at most 25,599"):
        read(tmp_path / "a.png", max_pixels=160 * 160 - 1)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.write(FILES["png"])
        file.truncate(1 << 40)
    with pytest.raises(ItemFailed, match=r"1,099,511,627,776 bytes"):
        read_image(tmp_path / "a.png")


def test_a_jpeg_of_endless_scans_is_refused():
    data = FILES["jpeg progressive"]
    with pytest.raises(Unreadable, match="scans"):
        decode_image(data[:-2] + b"\xff\xda" * 600 + data[-2:], MOST)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_what_moves_is_refused_and_the_way_out_is_said(tmp_path, suffix):
    frames = [Image.fromarray(frame) for frame in photo_crops(3, 32)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=40)
    with pytest.raises(ItemFailed, match=r"is animated.*Make a video of it first: ffmpeg -i IN OUT\.mp4\.$"):
        read_image(tmp_path / f"a{suffix}")
    frames[0].save(tmp_path / f"b{suffix}", save_all=True)
    assert read_image(tmp_path / f"b{suffix}")[0].shape == (32, 32, 3)


def test_the_content_says_the_format_and_not_the_suffix(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode_image(PHOTO, ".png"))
    (tmp_path / "a.tiff").write_bytes(encode_image(PHOTO, ".png"))
    (tmp_path / "a.png").write_bytes(encode_image(PHOTO, ".tiff"))
    for name in ("a.jpg", "a.tiff", "a.png"):
        np.testing.assert_array_equal(read(tmp_path / name)[1], PHOTO)


def test_formats_nobody_asked_for_are_left_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(b"P6 2 1 255\n" + bytes(6))
    with pytest.raises(ItemFailed, match="not an image of a format that is read here"):
        read_image(tmp_path / "a.png")
