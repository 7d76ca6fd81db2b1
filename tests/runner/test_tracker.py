"""The account of inputs whose run ends before they do."""

from helpers.support import photo_crops, read_record, write_images

from p2p_deploy.media import open_source
from p2p_deploy.runner.jobs import list_jobs
from p2p_deploy.runner.record import RECORD_NAME, RunRecord
from p2p_deploy.runner.tracker import Tracker


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
