"""A stage that fails, in every place and with every kind of input: nothing hangs, and the record is true."""

import errno
import threading

import pytest
from helpers.support import (
    by_input,
    leftovers,
    make_clip,
    photo_crops,
    read_record,
    write_images,
)

import p2p_deploy
from p2p_deploy import pixels
from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.media.image.files import ImageSink, read_image
from p2p_deploy.media.video.sink import VideoSink
from p2p_deploy.media.video.source import VideoSource
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import tasks

pytestmark = pytest.mark.timeout(60)

STAGES = ("open", "decode", "fit", "infer", "restore", "encode", "close")
KINDS = ("images", "clip")


@pytest.fixture
def model(identity):
    with p2p_deploy.load(identity) as model:
        yield model


def check_record(folder):
    """What is there is recorded as done, what is recorded as done is there, and nothing else is."""
    lines = by_input(folder)
    outputs = {path.name for path in folder.iterdir() if path.suffix != ".jsonl"}
    assert outputs == {name for name, line in lines.items() if line["status"] in ("done", "partial")}
    assert all(line["output"] is None for line in lines.values() if line["status"] in ("failed", "interrupted"))
    assert not leftovers(folder)
    return outputs


class Injector:
    """Breaks one stage at its ``at``-th call."""

    def __init__(self, monkeypatch, at=2):
        self.monkeypatch = monkeypatch
        self.at = at

    def into(self, owner, name, error):
        real, calls, lock = getattr(owner, name), [0], threading.Lock()

        def broken(*args, **kwargs):
            with lock:
                calls[0] += 1
                now = calls[0]
            if now == self.at:
                raise error
            return real(*args, **kwargs)

        self.monkeypatch.setattr(owner, name, broken)


def inject(monkeypatch, stage, kind, error):
    clip = kind == "clip"
    sink = VideoSink if clip else ImageSink
    once = clip and stage in ("open", "close")
    owner, name = {
        "open": (tasks, "open_source"),
        "decode": (VideoSource if clip else p2p_deploy.media.image.files.ImageSource, "decode"),
        "fit": (pixels, "fit_into"),
        "restore": (pixels, "restore"),
        "infer": (p2p_deploy.backends.onnxruntime.OnnxRuntimeModel, "submit"),
        "encode": (sink, "write"),
        "close": (sink, "close"),
    }[stage]
    Injector(monkeypatch, at=1 if once else 2).into(owner, name, error)


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    if request.param == "clip":
        (tmp_path / "in").mkdir()
        make_clip(tmp_path / "in" / "clip.mp4", photo_crops(30, 32))
    else:
        write_images(tmp_path / "in", photo_crops(30, 40))  # the model takes 32; else nothing would be fitted
    return request.param


class TestInjectedFailures:
    @pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "infer"])
    def test_an_item_that_fails_is_recorded_and_the_rest_goes_on(self, model, kind, stage, tmp_path, monkeypatch):
        inject(monkeypatch, stage, kind, ItemFailed("this one cannot be done"))
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        assert summary.failed == 1
        assert summary.done == (0 if kind == "clip" else 29)
        failed = [line for line in by_input(tmp_path / "out").values() if line["status"] == "failed"]
        assert [line["error"] for line in failed] == ["this one cannot be done"]
        outputs = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".jsonl"]
        assert len(outputs) == summary.done
        assert not leftovers(tmp_path)

    @pytest.mark.parametrize("stage", STAGES)
    @pytest.mark.parametrize("error", [Failed("the device is gone"), RuntimeError("a bug"), MemoryError()])
    def test_a_stage_that_fails_stops_the_run_and_wakes_everything(
        self, model, kind, stage, error, tmp_path, monkeypatch
    ):
        inject(monkeypatch, stage, kind, error)
        threads = threading.active_count()
        with pytest.raises(type(error)):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        assert threading.active_count() == threads
        check_record(tmp_path / "out")
        assert not any("summary" in line for line in read_record(tmp_path / "out"))

    def test_a_source_that_fails_while_listing_stops_the_run(self, model, kind, tmp_path, monkeypatch):
        source = VideoSource if kind == "clip" else p2p_deploy.media.image.files.ImageSource
        Injector(monkeypatch, at=1).into(source, "items", Failed("the share is gone"))
        with pytest.raises(Failed, match="the share is gone"):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")

    def test_a_full_disk_leaves_whole_files_and_a_true_record(self, model, kind, tmp_path, monkeypatch):
        real, count, lock = ImageSink.write, [0], threading.Lock()

        def full(self, frame, image):
            with lock:
                count[0] += 1
                fits = count[0] <= 9
            if not fits:
                raise Failed("No space left on device")
            real(self, frame, image)

        monkeypatch.setattr(ImageSink, "write", full)
        if kind == "clip":
            inject(monkeypatch, "encode", kind, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises((Failed, OSError), match="No space left"):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        outputs = check_record(tmp_path / "out")
        assert len(outputs) == (0 if kind == "clip" else 9)
        for name in outputs:
            read_image(tmp_path / "out" / name)

    @pytest.mark.parametrize("at", [1, 9, 20])
    def test_images_that_fail_beside_a_clip_that_is_slow_to_close(self, model, at, tmp_path, monkeypatch):
        """What the pools complete after the run has failed is on the disk, so it has to be in the record."""
        write_images(tmp_path / "in", photo_crops(20, 32))
        make_clip(tmp_path / "in" / "000-clip.mp4", photo_crops(6, 32))
        real = VideoSink.close

        def slow(self):
            threading.Event().wait(0.2)
            real(self)

        monkeypatch.setattr(VideoSink, "close", slow)
        Injector(monkeypatch, at=at).into(ImageSink, "write", Failed("No space left on device"))
        with pytest.raises(Failed, match="No space left"):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=2))
        check_record(tmp_path / "out")

    def test_cancelling_finishes_what_is_under_way_and_leaves_the_rest(self, model, kind, tmp_path):
        cancel = threading.Event()
        summary = p2p_deploy.run(
            model,
            tmp_path / "in",
            tmp_path / "out",
            RunOptions(batch=2),
            cancel=cancel,
            on_progress=lambda now: cancel.set(),
        )
        assert summary.interrupted
        assert not summary.complete
        outputs = check_record(tmp_path / "out")
        assert len(outputs) == summary.done
        if kind == "images":
            assert 0 < summary.done < 30
        else:
            assert summary.done == summary.frames == 0
            assert by_input(tmp_path / "out")["clip.mp4"]["status"] == "interrupted"
            assert [name for name, _ in summary.errors] == ["clip.mp4"]
