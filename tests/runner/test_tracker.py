"""The state of one input: when it is finished, which failure counts, and what closes its output."""

from pathlib import Path

import pytest
from helpers.clips import write_clip
from helpers.support import leftovers, photo_crops, read_record, write_images

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import Item, WriteOptions, open_source
from p2p_deploy.media.video.sink import VideoSink
from p2p_deploy.runner.jobs import Job, list_jobs
from p2p_deploy.runner.record import RECORD_NAME, RunRecord
from p2p_deploy.runner.tracker import InputState, Tracker


def decoded(state, index):
    return state.source.decode(Item(state.job.source, index))


@pytest.fixture
def state(tmp_path):
    """A clip that has written its first frame."""
    clip = write_clip(tmp_path / "clip.mkv", photo_crops(2, 64), 12)
    state = InputState(Job(clip, tmp_path / "out" / "clip.mkv", "clip.mkv"), None)
    state.opened(open_source(clip))
    assert state.sequential
    state.write(*decoded(state, 0), WriteOptions())
    assert not state.job.output.exists()
    yield state
    state.abandon()
    assert not leftovers(tmp_path)


def test_it_is_finished_when_all_is_listed_and_settled():
    state = InputState(Job(Path("a.png"), Path("b.png"), "a.png"), None)
    state.issue()
    state.settle()
    assert not state.finished
    state.issue()
    state.issue(2)
    state.end_listing()
    for _ in range(3):
        assert not state.finished
        state.settle()
    assert state.finished


def test_the_first_failure_is_the_one_that_is_told():
    state = InputState(Job(Path("a.png"), Path("b.png"), "a.png"), None)
    assert not state.failed
    state.fail("it is cut off.")
    state.fail("it is full of noise.")
    assert state.failed
    assert state.end() == ("failed", "it is cut off.")


def test_a_frame_that_cannot_be_written_fails_the_clip_at_once(state, monkeypatch):
    def refuse(*frame):
        raise ItemFailed("frame 1 is odd.")

    monkeypatch.setattr(VideoSink, "write", refuse)
    with pytest.raises(ItemFailed):
        state.write(*decoded(state, 1), WriteOptions())
    assert state.failed
    state.close_output()
    assert not state.job.output.exists()


@pytest.mark.parametrize("fails", [False, True])
def test_the_output_of_a_clip_is_there_once_it_is_closed_well(state, monkeypatch, fails):
    state.wrote(["turned"])
    if fails:
        state.sink.notes = ("no sound",)

        def refuse(sink):
            raise ItemFailed("there are too few frames.")

        monkeypatch.setattr(VideoSink, "close", refuse)
    state.close_output()
    assert state.job.output.exists() != fails
    assert state.end() == (("failed", "there are too few frames.") if fails else ("done", None))
    assert "turned" in state.notes
    assert ("no sound" in state.notes) == fails


def test_an_image_that_is_complete_is_recorded_although_its_items_were_not_all_asked_for(tmp_path):
    """A run fails just after the last image of a batch was written, and before the next item is looked for."""
    write_images(tmp_path / "in", photo_crops(2, 32))
    jobs = list_jobs(tmp_path / "in", tmp_path / "out")
    record = RunRecord(tmp_path / "out" / RECORD_NAME)
    tracker = Tracker(jobs, record, (32, 32), "", lambda job: None)
    written, begun = (tracker.start(job) for job in jobs)
    for state in (written, begun):
        tracker.opened(state, open_source(state.job.source))
        state.issue()
    written.job.output.write_bytes(b"whole")
    tracker.wrote(written, ())
    assert not written.finished
    tracker.abandon_unfinished()
    record.close()
    assert {line["input"]: line["status"] for line in read_record(tmp_path / "out")} == {
        written.job.name: "done",
        begun.job.name: "interrupted",
    }
    assert not tracker.unfinished
