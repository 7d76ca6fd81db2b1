"""Codecs by name: what goes together, what is refused before any work, and what comes out."""

import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from helpers.clips import copy_packets, copy_through, moving_frames, read_source, times_of
from helpers.support import ROOT, audio_packets, leftovers, make_clip, photo_crops, read_clip

from p2p_deploy.errors import ItemFailed, OutputError
from p2p_deploy.media import open_sink, open_source
from p2p_deploy.media.base import ReadOptions, WriteOptions
from p2p_deploy.media.containers import CODECS, CONTAINERS
from p2p_deploy.media.video.encoders import check_codec
from p2p_deploy.media.video.matroska_aspect import write_aspect

FITTING = [(name, suffix) for name, codec in CODECS.items() if not codec.hardware for suffix in codec.fits]
DECODED_AS = {
    **{"h264": "h264", "h265": "hevc", "av1": "av1", "vp9": "vp9"},
    **{"prores": "prores", "ffv1": "ffv1", "mpeg4": "mpeg4"},
}


def decoder(path):
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return context.codec.canonical_name, context.codec_tag, context.pix_fmt


@pytest.mark.parametrize(("name", "suffix"), FITTING)
def test_every_codec_keeps_frames_times_and_sound_in_every_container_it_fits(name, suffix, tmp_path):
    pts = [0, 40, 80, 200, 240, 600, 640] if CONTAINERS[suffix].time_stamps else [index * 40 for index in range(7)]
    clip = make_clip(tmp_path / "vfr.mp4", photo_crops(7, 96), pts=pts, time_base=Fraction(1, 1000))
    path = copy_packets(clip, tmp_path / "in.mp4", sound="libopus" if suffix == ".webm" else "libmp3lame", seconds=1)
    check_codec(suffix, name, None)
    source, sink = copy_through(path, tmp_path / f"out{suffix}", writing=WriteOptions(codec=name))
    assert source.damage is None
    assert sink.notes == ()
    assert times_of(tmp_path / f"out{suffix}") == [Fraction(value, 1000) for value in pts]
    assert decoder(tmp_path / f"out{suffix}")[0] == DECODED_AS[name]
    assert len(audio_packets(tmp_path / f"out{suffix}")) == len(audio_packets(path)) > 20
    for (_, after), (_, before) in zip(read_clip(tmp_path / f"out{suffix}"), read_clip(path), strict=True):
        assert np.abs(after.astype(int) - before).mean() < 10  # two different pictures are 60 apart


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if codec.crf and not codec.hardware])
def test_a_larger_rate_factor_makes_a_smaller_file(name, tmp_path):
    path = make_clip(tmp_path / "in.mkv", photo_crops(10, 128))
    option, smallest, largest = CODECS[name].crf
    assert option == "crf"
    sizes = []
    for crf in (smallest + 5, (smallest + largest) // 2, largest):
        target = tmp_path / f"{crf}.mkv"
        check_codec(".mkv", name, crf)
        copy_through(path, target, writing=WriteOptions(codec=name, crf=crf))
        sizes.append(target.stat().st_size)
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_h265_has_the_tag_that_every_player_knows(suffix, tmp_path):
    path = make_clip(tmp_path / "in.mkv", photo_crops(10, 96))
    copy_through(path, tmp_path / f"out{suffix}", writing=WriteOptions(codec="h265"))
    assert decoder(tmp_path / f"out{suffix}")[1] == "hvc1"


def test_ffv1_of_the_same_pixels_twice_is_the_same(tmp_path):
    """Nothing is lost but what changing between RGB and YUV rounds."""
    path = make_clip(tmp_path / "in.mkv", photo_crops(5, 96))
    copy_through(path, tmp_path / "first.mkv", writing=WriteOptions(codec="ffv1"))
    for (_, after), (_, before) in zip(read_source(tmp_path / "first.mkv")[0], read_source(path)[0], strict=True):
        assert np.abs(after.astype(int) - before).max() <= 2


@pytest.mark.parametrize(
    ("suffix", "name", "crf", "words"),
    [
        (".avi", "h265", None, (".avi cannot take h265", "takes ffv1, mpeg4", "h265 goes into .mp4 .m4v .mov .mkv")),
        (".webm", "h264", None, (".webm cannot take h264", "av1, vp9")),
        (".mp4", "prores", None, (".mp4 cannot take prores", "prores goes into .mov .mkv")),
        (".MP4", "divx", None, ("no codec divx", "h264, h265, av1")),
        (".mov", "prores", 20, ("prores has no constant rate factor, got 20",)),
        (".avi", None, 20, ("mpeg4 has no constant rate factor",)),
        (".mp4", None, 52, ("h264 goes from 0 to 51, got 52",)),
        (".webm", "av1", 0, ("av1 goes from 1 to 63, got 0",)),
        (".webm", None, -1, ("vp9 goes from 0 to 63, got -1",)),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_would(suffix, name, crf, words):
    with pytest.raises(OutputError) as caught:
        check_codec(suffix, name, crf)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_the_default_of_every_container_passes(suffix):
    check_codec(suffix, None, None)
    check_codec(suffix.upper(), None, None)


def test_an_encoder_that_is_not_in_this_ffmpeg_is_refused(monkeypatch):
    monkeypatch.setitem(CODECS, "h264", CODECS["h264"].__class__("libnothing264", (".mp4",), {}))
    with pytest.raises(OutputError, match=r"h264 is written by libnothing264, which FFmpeg in PyAV \d+.* lacks"):
        check_codec(".mp4", "h264", None)


def test_a_device_that_does_not_open_is_refused(monkeypatch):
    """Here with options that the encoder cannot take; without its device, it does not open either."""
    broken = CODECS["h264"].__class__("libx264", (".mp4",), {"profile": "nonsense"}, hardware=True)
    monkeypatch.setitem(CODECS, "h264_nvenc", broken)
    with pytest.raises(
        OutputError, match="h264_nvenc cannot be used here: FFmpeg has the encoder, but it does not open"
    ):
        check_codec(".mp4", "h264_nvenc", None)


@pytest.mark.parametrize("name", ["h265", "av1"])
def test_no_encoder_prints_anything(name, tmp_path):
    path = make_clip(tmp_path / "in.mkv", photo_crops(5, 96))
    program = (
        "import sys; from helpers.clips import copy_through; from pathlib import Path\n"
        "from p2p_deploy.media.base import WriteOptions\n"
        f"copy_through(Path(sys.argv[1]), Path(sys.argv[2]), writing=WriteOptions(codec={name!r}))"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    result = subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "out.mkv"], capture_output=True, env=environment, timeout=120
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


ODD = {"h264": "yuv444p", "h265": "yuv444p", "av1": "yuv420p", "vp9": "yuv420p", "prores": "yuv422p10le"}


@pytest.mark.parametrize("name", [*ODD, "ffv1"])
def test_an_odd_size_keeps_every_pixel_and_is_said(name, tmp_path):
    path = make_clip(tmp_path / "even.mkv", photo_crops(4, 96))
    source = open_source(path)
    target = tmp_path / f"out{CODECS[name].fits[-1]}"
    sink = open_sink(target, source, WriteOptions(codec=name))
    written = []
    for frame, image in read_source(path)[0]:
        written.append(np.ascontiguousarray(image[:67, :81]))
        sink.write(frame, written[-1])
    sink.close()
    assert decoder(target)[2] == ODD.get(name, "yuv444p")
    said = ("odd size 81x67: written as yuv444p, which not every player shows",)
    assert sink.notes == (said if name in ("h264", "h265") else ())
    for (_, image), original in zip(read_source(target)[0], written, strict=True):
        assert image.shape == (67, 81, 3)
        assert np.abs(image.astype(int) - original).mean() < 7


def test_frames_too_narrow_for_x265_fail_the_clip(tmp_path):
    clip = make_clip(tmp_path / "in.mkv", photo_crops(2, 96))
    frame, image = read_source(clip)[0][0]
    for width in (64, 65):
        sink = open_sink(tmp_path / f"{width}.mkv", open_source(clip), WriteOptions(codec="h265"))
        if width == 65:
            sink.write(frame, image[:, :width])
            sink.close()
        else:
            with pytest.raises(ItemFailed, match="64 pixels wide, and h265 is written from 65 on"):
                sink.write(frame, image[:, :width])
    assert not leftovers(tmp_path)
    assert not (tmp_path / "64.mkv").exists()


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("name", ["av1"])
def test_a_size_that_its_encoder_refuses_fails_the_clip(name, side, tmp_path):
    clip = make_clip(tmp_path / "in.mkv", photo_crops(2, 96))
    sink = open_sink(tmp_path / "out.mkv", open_source(clip), WriteOptions(codec=name))
    with pytest.raises(ItemFailed, match=r"out\.mkv cannot be encoded"):
        sink.write(read_source(clip)[0][0][0], np.zeros((side, side, 3), np.uint8))
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
@pytest.mark.parametrize("name", [*DECODED_AS])
@pytest.mark.parametrize("ratio", [Fraction(4, 3), Fraction(5, 8)])
def test_the_display_aspect_is_kept(name, suffix, ratio, tmp_path):
    if suffix not in CODECS[name].fits or (name, suffix) == ("ffv1", ".avi"):
        return
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 96
        stream.codec_context.sample_aspect_ratio = ratio
        for image in moving_frames(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    copy_through(path, tmp_path / f"out{suffix}", writing=WriteOptions(codec=name))
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == ratio
        assert "title" not in stream.metadata
        assert len(list(container.decode(video=0))) == 5


def test_a_header_without_room_for_the_aspect_is_left_alone(tmp_path):
    for name in ("a.mkv", "a.mp4"):
        path = make_clip(tmp_path / name, moving_frames(5))
        data = path.read_bytes()
        assert not write_aspect(path, (64, 64), Fraction(4, 3))
        assert path.read_bytes() == data


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_a_file_that_lost_a_frame_on_its_way_out_is_no_success(suffix, tmp_path):
    path = make_clip(tmp_path / "in.mkv", moving_frames(20))
    source = open_source(path)
    sink = open_sink(tmp_path / f"out{suffix}", source)
    encode, lost = sink._encode, []

    def losing(picture):
        packets = encode(picture)
        if sink._written > 9 and packets and not lost:
            lost.append(packets.pop())
        return packets

    sink._encode = losing
    for frame, image in read_source(path)[0]:
        sink.write(frame, image)
    with pytest.raises(ItemFailed, match=r"did not come out whole: 20 frames went in, 19 are in it"):
        sink.close()
    assert lost
    assert not leftovers(tmp_path)
    assert not (tmp_path / f"out{suffix}").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_is_shorter_than_what_went_in_is_no_success(suffix, tmp_path):
    path = make_clip(tmp_path / "in.mkv", moving_frames(20))
    sink = open_sink(tmp_path / f"out{suffix}", open_source(path))
    for frame, image in read_source(path)[0]:
        sink.write(frame, image)
    sink._end += 1
    with pytest.raises(ItemFailed, match=r"1\.80 s went in, it is 0\.80 s long"):
        sink.close()
    assert not leftovers(tmp_path)


def test_a_video_with_larger_frames_than_allowed_is_refused(tmp_path):
    path = make_clip(tmp_path / "in.mp4", photo_crops(3, 64))
    assert len(read_source(path, ReadOptions(max_pixels=64 * 64))[0]) == 3
    with pytest.raises(ItemFailed, match=r"in\.mp4 has frames of 64x64 pixels, 4,096; at most 4,095 are read"):
        open_source(path, ReadOptions(max_pixels=64 * 64 - 1))


def test_a_video_whose_frames_grow_beyond_what_is_allowed_fails(tmp_path):
    for side in (64, 128):
        make_clip(tmp_path / f"{side}.ts", photo_crops(20, side))
    path = tmp_path / "growing.ts"
    path.write_bytes((tmp_path / "64.ts").read_bytes() + (tmp_path / "128.ts").read_bytes())
    frames, _ = read_source(path)
    assert {frame.size for frame, _ in frames} == {(64, 64), (128, 128)}
    assert "size changes within the clip; kept at the first" in frames[-1][0].notes
    copy_through(path, tmp_path / "out.mkv")
    assert {frame.size for frame, _ in read_source(tmp_path / "out.mkv")[0]} == {(64, 64)}
    with pytest.raises(ItemFailed, match=r"growing\.ts .*frames of .* at most 5,000"):
        read_source(path, ReadOptions(max_pixels=5000))
