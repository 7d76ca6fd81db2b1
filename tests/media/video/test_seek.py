"""Looking into a clip without reading what comes before."""

from fractions import Fraction

import pytest
from helpers.clips import nearest, write_clip
from helpers.support import photo_crops

from p2p_deploy.media import EndOfStream, Item, open_source
from p2p_deploy.media.video import source

FRAMES = photo_crops(60, 64)


def frame_at(path, seconds):
    source = open_source(path)
    source.seek(Fraction(seconds))
    frame, image = source.decode(Item(path, 0))
    source.close()
    return frame.pts * frame.time_base, image


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
@pytest.mark.parametrize("key_every", [7, 250])
def test_the_frame_at_a_time_is_found_wherever_key_frames_are(tmp_path, suffix, key_every):
    path = write_clip(tmp_path / f"clip{suffix}", FRAMES, key_every)
    for index in (0, 3, 29, 59):
        time, image = frame_at(path, Fraction(2 * index - 1, 50) if index else 0)
        assert abs(time - Fraction(index, 25)) < Fraction(1, 500)
        assert nearest(image, FRAMES) == index


def test_past_the_end_there_is_nothing(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", FRAMES, 10)
    with pytest.raises(EndOfStream):
        frame_at(path, 100)
    with pytest.raises(EndOfStream):
        frame_at(path, 10**30)


def test_a_clip_without_key_frames_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SEEK_FRAMES", 20)
    path = write_clip(tmp_path / "clip.mp4", FRAMES, 250)
    assert frame_at(path, Fraction(19, 25))[0] == Fraction(19, 25)
    with pytest.raises(EndOfStream):
        frame_at(path, Fraction(20, 25))
