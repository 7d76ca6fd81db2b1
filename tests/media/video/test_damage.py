"""Videos that are cut or damaged: what can be read is given, and what is missing is said."""

import av
import numpy as np
import pytest
from helpers.clips import copy_packets, copy_through, make, moving_frames, read_source
from helpers.support import audio_packets, make_clip, photo_crops, read_clip

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import open_source


def test_a_clip_cut_in_the_middle_gives_what_can_be_read_and_says_so(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", np.repeat(photo_crops(25, 64), 4, axis=0))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source, _ = copy_through(cut, tmp_path / "out.mkv")
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


@pytest.mark.parametrize("content", ["zeros", "noise"])
@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".wmv", ".flv", ".3gp", ".ogv"])
def test_damage_in_the_middle_of_other_containers_stops_nothing_but_the_clip(suffix, content, tmp_path):
    path = make(tmp_path / f"in{suffix}", moving_frames(50))
    data = bytearray(path.read_bytes())
    start, length = len(data) // 2, len(data) // 10
    data[start : start + length] = bytes(length) if content == "zeros" else np.random.default_rng(0).bytes(length)
    path.write_bytes(data)
    frames, source = read_source(path)
    assert 10 < len(frames) <= 50
    assert source.damage or len(frames) == 50 or suffix in (".wmv", ".ogv")  # in which FFmpeg passes over it in silence
    times = [frame.pts * frame.time_base for frame, _ in frames]
    assert times == sorted(set(times))
    copy_through(path, tmp_path / "out.mkv")
    assert len(read_source(tmp_path / "out.mkv")[0]) == len(frames)


@pytest.mark.parametrize("suffix", [".wmv", ".flv", ".ogv", ".y4m"])
def test_other_containers_that_are_cut_give_their_frames(suffix, tmp_path):
    path = make(tmp_path / f"in{suffix}", moving_frames(50))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    frames, source = read_source(path)
    assert 20 < len(frames) < 48
    assert source.damage or suffix in (".flv", ".ogv")  # whose headers promise nothing


def test_sound_much_longer_than_the_pictures_is_no_damage(tmp_path):
    """FFmpeg gives such a stream the length of the whole file."""
    clip = make_clip(tmp_path / "clip.mp4", moving_frames(5))
    path = copy_packets(clip, tmp_path / "in.mkv", sound="pcm_s16le", seconds=60)
    frames, source = read_source(path)
    assert len(frames) == 5
    assert source.damage is None
