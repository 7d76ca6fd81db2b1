"""The record: whole lines or none, whatever the names, the disk and what lies in its place."""

import errno
import json
import os
import random
from pathlib import Path

import pytest
from helpers.support import place

from p2p_deploy.errors import Failed, OutputError
from p2p_deploy.runner.jobs import list_jobs
from p2p_deploy.runner.record import RECORD_NAME, RunRecord, stamp
from p2p_deploy.runner.summary import Execution
from p2p_deploy.runner.tracker import GAVE_WAY, Tracker


class Source:
    damage = None
    expected_frames = 1

    def close(self):
        pass


@pytest.fixture
def record(tmp_path):
    record = RunRecord(tmp_path / "out" / RECORD_NAME)
    yield record
    record.close()


def read(record):
    return [json.loads(line) for line in record.path.read_bytes().splitlines()]


def test_any_name_comes_back_from_the_record(record):
    chance = random.Random(0)
    names = [os.fsdecode(bytes(chance.choices(range(1, 256), k=chance.randrange(1, 40)))) for _ in range(500)]
    for name in names:
        record.append({"input": name})
    assert [line["input"] for line in read(record)] == names
    assert record.path.read_bytes().isascii()


@pytest.mark.parametrize("others", [0, 3])
def test_of_a_line_that_does_not_fit_nothing_stays(record, monkeypatch, others):
    write, fit = os.write, [7]

    def small(file, data):
        if others:  # somebody else appends to the same record
            with record.path.open("ab") as other:
                other.write(b"{}\n" * others)
        return write(file, data[: fit[0]])

    record.append({"input": "a"})
    monkeypatch.setattr(os, "write", small)
    with pytest.raises(Failed, match="No space left on device"):
        record.append({"input": "b"})
    fit[0] = 10_000
    record.append({"input": "c"})
    assert [line for line in read(record) if line] == [{"input": "a"}, {"input": "c"}]
    assert sum(not line for line in read(record)) == 2 * others


def test_a_disk_that_takes_nothing_is_said(record, monkeypatch):
    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Failed, match="No space left on device"):
        record.append({"input": "b"})
    assert record.path.read_bytes() == b""


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_no_record(tmp_path, kind):
    path = tmp_path / RECORD_NAME
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/full")
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OutputError, match=r"p2p-run\.jsonl cannot be written: (it is no file|Is a directory)"):
        RunRecord(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def test_the_account_of_a_run_holds_nothing_of_what_is_finished(tmp_path, record):
    source = place(tmp_path / "in", "a.png", "a.jpg", "b.png", "c.png", "d.mp4")
    job_list = list_jobs(source, tmp_path / "out")
    tracker = Tracker(job_list, record, (32, 32), "model", lambda job: [stamp(job.source)])
    assert tracker.progress().frames_expected == 4
    for job in job_list:
        state = tracker.start(job)
        assert state in tracker.unfinished
        opened = Source()
        if job.name == "b.png":
            state.fail("it is broken")
        elif job.name == "d.mp4":
            opened.expected_frames = 7
            tracker.opened(state, opened)
            assert tracker.progress().frames_expected == 3 + 7
            for _ in range(5):
                tracker.wrote(state, ["turned"])
        else:
            tracker.opened(state, opened)
            tracker.wrote(state, ["turned", "widened"])
        if not state.failed:
            job.output.write_bytes(b"12345")
        tracker.finish(state)
        assert not tracker.unfinished
    now = tracker.progress()
    summary = tracker.summary(Execution(False, 2.0, ("cpu",), (0.5,), 1, 2, {}))
    assert (now.inputs, now.inputs_total, now.failed, now.frames, now.frames_expected) == (5, 5, 1, 8, 8)
    assert (summary.done, summary.failed, summary.frames) == (4, 1, 8)
    assert summary.notes == {"turned": 4, "widened": 3, GAVE_WAY: 2}
    lines = {line["input"]: line for line in read(record)}
    assert lines["a.jpg"]["notes"] == ["turned", "widened", next(iter(job_list)).note]
    assert lines["d.mp4"]["frames"] == 5
    assert lines["d.mp4"]["output_stamp"] == stamp(tmp_path / "out" / "d.mp4")
    assert lines["d.mp4"]["output_stamp"][0] == 5
    assert lines["b.png"]["output_stamp"] is None
