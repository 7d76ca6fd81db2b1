"""AVI, which stores neither time stamps nor colours."""

from fractions import Fraction

import av
import numpy as np
import pytest
from helpers.clips import copy_through, moving_frames, read_source, stream_facts, times_of
from helpers.support import audio_packets, leftovers, make_clip, photo_crops, read_clip

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import open_sink, open_source


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
    assert copy_through(tmp_path / "in.avi", tmp_path / "out.avi")[0].damage is None
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


def test_sound_that_avi_would_put_out_of_step_is_left_out_and_said(tmp_path):
    path = make_clip(tmp_path / "in.avi", moving_frames(10), audio=True)  # AAC
    _, sink = copy_through(path, tmp_path / "out.avi")
    assert sink.notes == ("sound dropped: avi cannot take aac in step with the pictures",)
    assert times_of(tmp_path / "out.avi") == times_of(path)
    assert audio_packets(path)
    assert not audio_packets(tmp_path / "out.avi")


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
