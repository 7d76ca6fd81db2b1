"""Going on with a run that ended early, however it ended."""

import json
import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers.networks import write_identity
from helpers.support import ROOT, leftovers, make_clip, photo_crops, read_record, write_images

import p2p_deploy
from p2p_deploy.media.image.files import ImageSource
from p2p_deploy.options import RunOptions

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def model(identity):
    with p2p_deploy.load(identity) as model:
        yield model


@pytest.fixture
def inputs(tmp_path):
    write_images(tmp_path / "in", photo_crops(12, 32))
    make_clip(tmp_path / "in" / "clip.mp4", photo_crops(9, 32))
    return tmp_path / "in"


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.suffix in (".png", ".mp4") and path.name[0] != "."
    }


def names_done(folder):
    return [line["input"] for line in read_record(folder) if line.get("status") == "done"]


def test_what_is_done_is_left_out(model, inputs, tmp_path):
    out = tmp_path / "out"
    first = p2p_deploy.run(model, inputs, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix == ".png"}
    again = p2p_deploy.run(model, inputs, out, RunOptions(resume=True))
    assert (first.done, again.done, again.skipped, again.frames) == (13, 0, 13, 0)
    assert again.complete
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix == ".png"} == before


def test_without_an_earlier_run_everything_is_done(model, inputs, tmp_path):
    assert p2p_deploy.run(model, inputs, tmp_path / "out", RunOptions(resume=True)).done == 13


@pytest.mark.parametrize("change", ["input", "output", "output gone", "model", "record line", "failed before"])
def test_what_changed_is_done_again_and_nothing_else(model, inputs, tmp_path, change):
    out = tmp_path / "out"
    broken = inputs / "005.png"
    sound = broken.read_bytes()
    if change == "failed before":
        broken.write_bytes(b"not a picture")
    p2p_deploy.run(model, inputs, out)
    if change == "input":
        write_images(tmp_path / "new", photo_crops(6, 32, seed=9))
        broken.write_bytes((tmp_path / "new" / "005.png").read_bytes())
    elif change == "output":
        (out / "005.png").write_bytes(b"somebody wrote here")
    elif change == "output gone":
        (out / "005.png").unlink()
    elif change == "failed before":
        broken.write_bytes(sound)
    elif change == "record line":
        lines = (out / "p2p-run.jsonl").read_text().splitlines(keepends=True)
        (out / "p2p-run.jsonl").write_text("".join(line for line in lines if '"005.png"' not in line))
    if change == "model":
        with p2p_deploy.load(write_identity(tmp_path / "other.onnx", io="float32")) as other:
            assert p2p_deploy.run(other, inputs, out, RunOptions(resume=True)).done == 13
        return
    again = p2p_deploy.run(model, inputs, out, RunOptions(resume=True))
    assert (again.done, again.skipped) == (1, 12)
    assert (out / "005.png").read_bytes() == broken.read_bytes() or change != "input"
    assert again.complete


def test_an_input_that_changes_while_it_is_run_is_done_again(model, inputs, tmp_path, monkeypatch):
    decode = ImageSource.decode

    def changing(source, item, into=None):
        found = decode(source, item)
        if source.path.name == "003.png":
            source.path.write_bytes((inputs / "004.png").read_bytes() + b" ")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ImageSource, "decode", changing)
        assert p2p_deploy.run(model, inputs, tmp_path / "out").done == 13
    assert p2p_deploy.run(model, inputs, tmp_path / "out", RunOptions(resume=True)).done == 1


def test_new_inputs_are_done(model, inputs, tmp_path):
    p2p_deploy.run(model, inputs, tmp_path / "out")
    write_images(tmp_path / "more", photo_crops(14, 32, seed=3))
    for name in ("012.png", "013.png"):
        (tmp_path / "more" / name).rename(inputs / name)
    again = p2p_deploy.run(model, inputs, tmp_path / "out", RunOptions(resume=True))
    assert (again.done, again.skipped) == (2, 13)


def test_a_record_with_half_a_line_is_read_and_gone_on_with(model, inputs, tmp_path):
    out = tmp_path / "out"
    p2p_deploy.run(model, inputs, out)
    data = (out / "p2p-run.jsonl").read_bytes()
    (out / "p2p-run.jsonl").write_bytes(data[: len(data) // 2] + b"\xff\xfe[[[")
    again = p2p_deploy.run(model, inputs, out, RunOptions(resume=True))
    assert 0 < again.skipped < 13
    assert again.complete
    whole = [
        line
        for line in (out / "p2p-run.jsonl").read_bytes().splitlines()
        if line.startswith(b"{") and line.endswith(b"}")
    ]
    assert json.loads(whole[-1])["summary"]["skipped"] == again.skipped


def test_after_ctrl_c_the_rest_is_done(model, inputs, tmp_path):
    cancel = threading.Event()
    out = tmp_path / "out"
    stopped = p2p_deploy.run(
        model, inputs, out, RunOptions(batch=2), cancel=cancel, on_progress=lambda now: cancel.set()
    )
    assert stopped.interrupted
    assert stopped.done < 13
    again = p2p_deploy.run(model, inputs, out, RunOptions(resume=True))
    assert again.complete
    assert again.done + stopped.done == 13
    assert len(names_done(out)) == len(set(names_done(out))) == 13


def test_outputs_after_being_killed_at_any_moment_are_those_of_an_undisturbed_run(tmp_path, identity):
    """SIGKILL, which nothing can catch, at moments spread over the work, once that many outputs are there."""
    write_images(tmp_path / "in", photo_crops(60, 32))
    for index in range(3):
        # x264 itself does not give the same bytes every time for pictures much smaller than this.
        make_clip(tmp_path / "in" / f"clip{index}.mp4", photo_crops(30, 128, seed=index))
    with p2p_deploy.load(identity) as model:
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "undisturbed")
    expected, chance, killed = contents(tmp_path / "undisturbed"), random.Random(0), 0
    for attempt in range(4):
        out = tmp_path / f"out{attempt}"
        process = start(identity, tmp_path / "in", out)
        enough = chance.randrange(len(expected) * 9 // 10)
        while process.poll() is None and (not out.exists() or len(list(out.glob("[!.]*.*"))) < enough):
            time.sleep(0.001)
        process.kill()
        process.wait()
        written = contents(out) if out.exists() else {}
        differing = [name for name, data in written.items() if data != expected[name]]
        assert not differing  # nothing half-written under its name
        killed += len(written) < len(expected)
        with p2p_deploy.load(identity) as model:
            assert p2p_deploy.run(model, tmp_path / "in", out, RunOptions(resume=True)).complete
        assert [name for name, data in contents(out).items() if data != expected[name]] == []
        assert contents(out).keys() == expected.keys()
        assert not leftovers(out)
    assert killed


def start(*arguments):
    code = (
        "import sys, p2p_deploy, p2p_deploy.runner.run\n"
        "with p2p_deploy.load(sys.argv[1]) as model:\n"
        "    p2p_deploy.run(model, sys.argv[2], sys.argv[3])\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_temporary_files_of_a_process_that_lives_are_left_alone(model, inputs, tmp_path):
    out = tmp_path / "out"
    p2p_deploy.run(model, inputs, out)
    mine, gone = out / f".x.{os.getpid()}-7.part.png", out / ".x.2147483646-7.part.png"
    for path in (mine, gone, out / ".hidden", out / "x.part.png"):
        path.write_bytes(b"")
    p2p_deploy.run(model, inputs, out, RunOptions(resume=True))
    assert mine.exists()
    assert not gone.exists()
    assert (out / ".hidden").exists()
    assert (out / "x.part.png").exists()


def test_instances_that_changed_are_noticed(tmp_path):
    from p2p_deploy.runner import tasks
    from p2p_deploy.runner.jobs import Job

    write_images(tmp_path / "instances", np.zeros((1, 8, 8, 1), np.uint8))
    write_images(tmp_path / "labels", np.zeros((1, 8, 8, 1), np.uint8))
    job = Job(tmp_path / "labels" / "000.png", tmp_path / "out.png", "000.png")
    before = tasks.input_stamp(job, tmp_path / "instances")
    assert len(before) == 2
    assert tasks.input_stamp(job, tmp_path / "instances") == before
    (tmp_path / "instances" / "000.png").write_bytes(b"changed")
    assert tasks.input_stamp(job, tmp_path / "instances") != before
