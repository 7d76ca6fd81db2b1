"""Colours, their tags and their depth, through a source and a sink."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from helpers.clips import copy_through, read_source
from helpers.support import photo_crops

from p2p_deploy.media import open_sink, open_source
from p2p_deploy.media.base import ReadOptions, WriteOptions
from p2p_deploy.media.containers import CODECS
from p2p_deploy.media.video.colour import FromRgb, ToRgb

SIDE = 32
COLOURS = [
    *[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)],
    *[(level, level, level) for level in (0, 16, 64, 128, 235, 255)],
    *map(tuple, np.random.default_rng(0).integers(20, 236, (8, 3)).tolist()),
]
CENTRES = (slice(SIDE // 2, None, SIDE), slice(SIDE // 2, None, SIDE))
PATCHES = np.array(COLOURS, np.uint8).reshape(4, 5, 3).repeat(SIDE, axis=0).repeat(SIDE, axis=1)
TAGS = {Colorspace.ITU709: 1, Colorspace.ITU601: 6}
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
EIGHT_BITS = [name for name, codec in CODECS.items() if not codec.hardware and codec.formats[0].startswith("yuv4")]


def make_patches(path, matrix, full_range, pixel_format="yuv420p"):
    """The patches, tagged with ``matrix`` and range, by swscale."""
    tag, color_range = TAGS[matrix], ColorRange.JPEG if full_range else ColorRange.MPEG
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *PATCHES.shape[:2], pixel_format
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = tag, color_range, tag, tag
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(PATCHES, format="rgb24").reformat(
                format=pixel_format,
                dst_colorspace=matrix,
                src_color_range=ColorRange.JPEG,
                dst_color_range=color_range,
                interpolation=EXACT,
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def tags_of(path):
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return tuple(map(int, (context.colorspace, context.color_range, context.color_primaries, context.color_trc)))


@pytest.mark.parametrize("matrix", TAGS)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", EIGHT_BITS)
def test_colours_and_their_tags_survive(name, matrix, full_range, tmp_path):
    path = make_patches(tmp_path / "tagged.mp4", matrix, full_range)
    for suffix in CODECS[name].fits:
        target = tmp_path / f"out{suffix}"
        _, sink = copy_through(path, target, writing=WriteOptions(codec=name))
        for (_, before), (_, after) in zip(read_source(path)[0], read_source(target)[0], strict=True):
            assert np.abs(before[CENTRES].astype(int) - PATCHES[CENTRES]).max() <= 3
            assert np.abs(after[CENTRES].astype(int) - before[CENTRES]).max() <= 3
        limited = full_range and (name == "prores" or suffix == ".avi")
        assert ("full range of colours written as limited range" in sink.notes) == limited
        if suffix == ".avi":  # stores none, and is read as BT.601 at this size
            as_bt601 = "colours written as BT.601, which avi is read as"
            assert (as_bt601 in sink.notes) == (matrix == Colorspace.ITU709)
        else:
            color_range = ColorRange.JPEG if full_range and not limited else ColorRange.MPEG
            assert tags_of(target) == (TAGS[matrix], int(color_range), TAGS[matrix], TAGS[matrix])


@pytest.mark.parametrize("matrix", [*TAGS, Colorspace.BT2020, Colorspace.SMPTE240M, Colorspace.FCC])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_the_fast_conversion_is_the_exact_one(pixel_format, matrix, full_range):
    """Swscale as the witness, on patches to within rounding, and on a photograph on average."""
    color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    for picture, places in ((PATCHES, CENTRES), (photo_crops(1, 128)[0], (slice(None), slice(None)))):
        theirs = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format=pixel_format,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=color_range,
            interpolation=EXACT,
        )
        ours = FromRgb(matrix, full_range, pixel_format)(picture)
        ours.color_range = color_range
        back = ours.reformat(
            format="rgb24",
            src_colorspace=matrix,
            src_color_range=color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
        ).to_ndarray()
        rgb = ToRgb(matrix)(ours)
        difference = np.abs(rgb[places].astype(int) - back[places])
        assert difference.mean() < 0.6
        assert difference.max() <= (2 if picture is PATCHES else 12)
        for mine, other in zip(ours.planes, theirs.planes, strict=True):
            rows, others = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in (mine, other))
            far = np.abs(rows[:, : mine.width].astype(int) - others[:, : mine.width])
            assert far.mean() < 1.5
        if picture is PATCHES:
            assert np.abs(rgb[places].astype(int) - picture[places]).max() <= 3


def test_an_identity_over_and_over_changes_next_to_nothing():
    picture = photo_crops(1, 128)[0]
    to_rgb, from_rgb = ToRgb(Colorspace.ITU709), FromRgb(Colorspace.ITU709, False, "yuv420p")
    first = to_rgb(from_rgb(picture)).copy()
    again = first
    for _ in range(5):
        again = to_rgb(from_rgb(again))
    assert np.abs(again.astype(int) - first).mean() < 2


@pytest.mark.parametrize("size", [(37, 51), (36, 51), (37, 50)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_odd_sizes_are_converted_too(pixel_format, size):
    picture = np.ascontiguousarray(photo_crops(1, 64)[0][: size[0], : size[1]])
    frame = FromRgb(Colorspace.ITU601, True, pixel_format)(picture)
    frame.color_range = ColorRange.JPEG
    assert (frame.height, frame.width) == size
    assert np.abs(ToRgb(Colorspace.ITU601)(frame).astype(int) - picture).mean() < 8


def make_deep(path, frames_16, encoder="libx265", pixel_format="yuv420p10le"):
    with av.open(str(path), "w") as container:
        options = {"crf": "4", "x265-params": "log-level=none"} if encoder == "libx265" else {}
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames_16.shape[1:3], pixel_format
        for index, image in enumerate(frames_16):
            frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame.reformat(format=pixel_format, interpolation=EXACT)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def ramp():
    """Greys that 8 bits do not tell apart: (4, 64, 256, 3) uint16."""
    row = np.linspace(20000, 30000, 256).astype(np.uint16)
    return np.broadcast_to(row[None, None, :, None], (4, 64, 256, 3)).copy()


DEEP = {"h264": "yuv420p10le", "h265": "yuv420p10le", "av1": "yuv420p10le", "prores": "yuv422p10le"}


@pytest.mark.parametrize("name", [*DEEP, "ffv1"])
def test_ten_bits_stay_ten_bits_where_they_are_asked_for(name, ramp, tmp_path):
    path = make_deep(tmp_path / "in.mkv", ramp)
    target = tmp_path / "out.mkv"
    _, sink = copy_through(path, target, reading=ReadOptions(deep=True), writing=WriteOptions(codec=name))
    assert sink.notes == ()
    before, after = (read_source(file, ReadOptions(deep=True))[0] for file in (path, target))
    for (frame, image), (_, original), made in zip(after, before, ramp, strict=True):
        assert frame.depth == 16
        assert frame.notes == ()
        assert image.dtype == original.dtype == np.uint16
        assert len(np.unique(original)) > 100  # 40 of them in 8 bits
        assert len(np.unique(image)) > 100
        assert np.abs(original.astype(int) - made).mean() < 100
        assert np.abs(image.astype(int) - original).mean() < 100
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == DEEP.get(name, "yuv444p10le")


def test_ten_bits_are_reduced_and_said_where_they_are_not_asked_for(ramp, tmp_path):
    path = make_deep(tmp_path / "in.mkv", ramp)
    _, sink = copy_through(path, tmp_path / "out.mkv")
    assert sink.notes == ()
    frame, image = read_source(path)[0][0]
    assert (frame.depth, image.dtype) == (8, np.uint8)
    assert frame.notes == ("10-bit depth reduced to 8",)
    assert np.abs(image.astype(int) * 257 - ramp[0]).max() < 3 * 257


@pytest.mark.parametrize("suffix", [".webm", ".avi"])
def test_a_codec_of_eight_bits_says_so(suffix, ramp, tmp_path):
    _, sink = copy_through(
        make_deep(tmp_path / "in.mkv", ramp), tmp_path / f"out{suffix}", reading=ReadOptions(deep=True)
    )
    assert sink.notes == ("10-bit depth reduced to 8",)
    assert np.abs(read_source(tmp_path / f"out{suffix}")[0][0][1].astype(int) * 257 - ramp[0]).mean() < 3 * 257


def test_more_than_ten_bits_become_ten(ramp, tmp_path):
    path = make_deep(tmp_path / "in.mkv", ramp, "ffv1", "yuv444p16le")
    _, sink = copy_through(path, tmp_path / "out.mkv", reading=ReadOptions(deep=True))
    assert sink.notes == ("16-bit depth reduced to 10",)
    source = open_source(path, ReadOptions(deep=True))
    assert np.abs(source.decode(next(source.items()))[1].astype(int) - ramp[0]).max() < 16


def test_eight_bits_are_not_made_deep(tmp_path):
    path = make_patches(tmp_path / "in.mp4", Colorspace.ITU601, False)
    frame, image = read_source(path, ReadOptions(deep=True))[0][0]
    assert (frame.depth, image.dtype) == (8, np.uint8)


def test_grey_outputs_become_videos(tmp_path):
    path = make_patches(tmp_path / "in.mp4", Colorspace.ITU601, False)
    sink = open_sink(tmp_path / "out.mp4", open_source(path))
    grey = photo_crops(1, 64, channels=1)[0]
    sink.write(read_source(path)[0][0][0], grey)
    sink.close()
    assert np.abs(read_source(tmp_path / "out.mp4")[0][0][1].astype(int) - grey).mean() < 6
