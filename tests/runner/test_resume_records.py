"""What is believed of a record, whatever has become of it."""

import json
import os
import tracemalloc

import pytest
from helpers.support import place

from p2p_deploy.errors import OutputError
from p2p_deploy.options import RunOptions
from p2p_deploy.runner.jobs import list_jobs
from p2p_deploy.runner.record import RECORD_NAME, stamp
from p2p_deploy.runner.resume import remove_leftovers, without_what_is_done

MODEL = "f" * 64


def names(job_list):
    return [job.name for job in job_list]


def stamps(job):
    return [stamp(job.source)]


def line_of(job, **changed):
    line = {
        "input": job.name,
        "status": "done",
        "output": str(job.output),
        "model": MODEL,
        "input_stamp": stamps(job),
        "output_stamp": stamp(job.output),
    }
    return json.dumps({**line, **changed}).encode() + b"\n"


@pytest.fixture
def job_list(tmp_path):
    """Five inputs, of which all have outputs."""
    source = place(tmp_path / "in", "a.png", "b.jpg", "sub/c.png", "sub/d.mp4", "sub/new\nline-\udcff.png")
    job_list = list_jobs(source, tmp_path / "out", RunOptions(recursive=True))
    for job in job_list:
        place(job.output.parent, job.output.name)
    return job_list


def write(job_list, *lines):
    (job_list.folder / RECORD_NAME).write_bytes(b"".join(lines))
    return without_what_is_done(job_list, MODEL, stamps)


def test_what_is_done_is_left_out_of_every_iteration_and_counted(job_list):
    jobs = list(job_list)
    left = write(job_list, *(line_of(job) for job in jobs if job.name not in ("b.jpg", "sub/d.mp4")))
    assert list(left) == list(left) == [job for job in jobs if job.name in ("b.jpg", "sub/d.mp4")]
    assert (left.total, left.stills, left.skipped) == (2, 1, 3)
    assert (left.folder, left.ignored) == (job_list.folder, 0)
    everything = write(job_list, *(line_of(job) for job in jobs))
    assert list(everything) == []
    assert (everything.total, everything.stills, everything.skipped) == (0, 0, 5)


CHANGED = {
    "status": "partial",
    "model": "e" * 64,
    "output": "elsewhere.png",
    "input_stamp": [[1, 2]],
    "output_stamp": [1, 2],
}


@pytest.mark.parametrize(("key", "value"), [*CHANGED.items(), *((key, None) for key in CHANGED), ("input", [])])
def test_all_of_a_line_has_to_agree(job_list, key, value):
    jobs = list(job_list)
    left = write(job_list, line_of(jobs[0], **{key: value}), *map(line_of, jobs[1:]))
    assert names(left) == ["a.png"]


def test_a_line_without_stamps_is_not_believed_of_files_without(job_list):
    job = next(iter(job_list))
    job.source.unlink()
    job.output.unlink()
    assert "a.png" in names(write(job_list, line_of(job)))


def test_the_last_line_about_an_input_counts(job_list):
    first, second, *_ = job_list
    failed = line_of(first, status="failed"), line_of(second, status="failed")
    assert names(write(job_list, line_of(first), failed[1], failed[0], line_of(second)))[:1] == ["a.png"]
    assert write(job_list, line_of(first), failed[1], failed[0], line_of(second)).skipped == 1


RUBBISH = {
    "nothing": b"",
    "blank lines": b"\n\n\r\n",
    "not UTF-8": b'{"input": "\xff\xfe"}\n',
    "zeros": bytes(5000) + b"\n",
    "UTF-16": '{"input": "a.png"}\n'.encode("utf-16") + b"\n",
    "other JSON": b'[]\n1\n"a.png"\nnull\nNaN\n',
    "a number without end": b'{"input": "a.png", "status": ' + b"9" * 5000 + b"}\n",
    "names that are none": b'{"input": {"a.png": 1}}\n{"input": null}\n{}\n',
    "deep brackets": b"[" * 200_000 + b"\n" + b'{"a":' * 100_000 + b"\n",
    "half a line": b'{"input": "a.png", "status": "fai\n',
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_lines_that_are_none_are_passed_over(job_list, rubbish):
    jobs = list(job_list)
    left = write(job_list, rubbish, *(line_of(job) + rubbish for job in jobs[:3]), b"\n", *map(line_of, jobs[3:]))
    assert left.skipped == 5
    assert left.skipped + left.total == 5


def test_a_line_as_long_as_a_disk_is_not_held_in_memory(job_list):
    jobs = list(job_list)
    with (job_list.folder / RECORD_NAME).open("wb") as record:
        for job in jobs[:2]:
            record.write(line_of(job))
        record.write(b'{"input": "')
        record.seek(300 << 20, os.SEEK_CUR)  # a hole: zeros that take no room
        record.write(b'"}\n')
        for job in jobs[2:]:
            record.write(line_of(job))
    tracemalloc.start()
    left = without_what_is_done(job_list, MODEL, stamps)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert left.skipped == 5
    assert most < 8 << 20


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_lines_around_the_longest_that_is_read_end_where_they_end(job_list, extra):
    jobs = list(job_list)
    long = line_of(jobs[0], notes=["x" * ((1 << 20) - len(line_of(jobs[0], notes=[""])) + extra)])
    assert len(long) == (1 << 20) + extra
    left = write(job_list, long, line_of(jobs[1]))
    assert left.skipped == (2 if extra <= 0 else 1)


def test_much_of_a_record_takes_little_memory(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    place(tmp_path / "in", "a.png")
    with (tmp_path / "out" / RECORD_NAME).open("w") as record:
        for index in range(20_000):
            record.write(json.dumps({"input": f"{index:020}.png", "status": "done", "model": MODEL}) + "\n")
    job_list = list_jobs(tmp_path / "in", tmp_path / "out")
    tracemalloc.start()
    assert without_what_is_done(job_list, MODEL, stamps).total == 1
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000 * 110


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_record_that_is_no_file_is_refused_in_a_sentence(job_list, kind):
    path = job_list.folder / RECORD_NAME
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OutputError, match=r"p2p-run\.jsonl cannot be read: (it is no file|Is a directory)"):
        without_what_is_done(job_list, MODEL, stamps)


def test_leftovers_of_any_name_are_removed_from_every_folder(job_list):
    gone = [
        job_list.folder / ".new\nline.2147483646-7.part.png",
        job_list.folder / "sub" / ".\udcff.2147483646-8.part.mp4",
    ]
    alive = job_list.folder / "sub" / f".x.{os.getpid()}-1.part.png"
    for path in (*gone, alive):
        path.touch()
    remove_leftovers(job_list)
    assert not any(path.exists() for path in gone)
    assert alive.exists()
