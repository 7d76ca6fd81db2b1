"""Frames are written in their order, whichever batch is ready first."""

import time

import pytest
from helpers.clips import nearest, write_clip
from helpers.networks import write_identity
from helpers.support import photo_crops, read_clip, read_record, write_images

import p2p_deploy
from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.image.files import ImageSource
from p2p_deploy.media.video.source import VideoSource
from p2p_deploy.options import RunOptions

FRAMES = photo_crops(12, 128)


@pytest.fixture
def model(tmp_path):
    with p2p_deploy.load(write_identity(tmp_path / "m.onnx", size=128)) as model:
        yield model


@pytest.fixture
def slow_pictures(monkeypatch):
    """Pictures take so long that the batch they share with the first frames is ready after later ones."""
    decode = ImageSource.decode
    monkeypatch.setattr(ImageSource, "decode", lambda self, *item: (time.sleep(0.5), decode(self, *item))[1])


@pytest.mark.usefixtures("slow_pictures")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_frames_that_share_a_batch_with_a_slow_picture_keep_their_place(model, suffix, tmp_path):
    write_images(tmp_path / "in", FRAMES[:1])
    write_clip(tmp_path / "in" / f"clip{suffix}", FRAMES, 12)
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=3))
    assert summary.complete, summary.errors
    written = [image for _, image in read_clip(tmp_path / "out" / f"clip{suffix}")]
    assert [nearest(image, FRAMES) for image in written] == list(range(12))


@pytest.mark.usefixtures("slow_pictures")
def test_a_frame_that_fails_lets_go_of_those_that_wait_for_it(model, tmp_path, monkeypatch):
    decode = VideoSource.decode

    def fail_first(self, item, into=None):
        if item.index == 1:
            raise ItemFailed("frame 1 is bad.")
        return decode(self, item, into)

    monkeypatch.setattr(VideoSource, "decode", fail_first)
    write_images(tmp_path / "in", FRAMES[:2])
    write_clip(tmp_path / "in" / "clip.mkv", FRAMES, 12)
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=3))
    assert (summary.done, summary.errors) == (2, (("clip.mkv", "frame 1 is bad."),))
    lines = {line["input"]: line["status"] for line in read_record(tmp_path / "out") if "input" in line}
    assert lines == {"000.png": "done", "001.png": "done", "clip.mkv": "failed"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "001.png", "p2p-run.jsonl"]
