"""What ``p2p run`` can do beside a folder on one device: pipes, several devices, a page to look at."""

import os
import pty
import subprocess
import sys

import pytest
from helpers.networks import write_identity
from helpers.support import ROOT, assert_refused, invoke, make_clip, photo_crops, read_record, write_images

from p2p_deploy.gallery import GALLERY_NAME


@pytest.fixture
def pictures():
    return photo_crops(20, 64)


@pytest.fixture
def model(tmp_path):
    """Gives back its 64 x 64 frames."""
    return write_identity(tmp_path / "identity.onnx", 64)


def piped(*arguments, **streams):
    command = [sys.executable, "-m", "p2p_deploy", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False, **streams)


class TestRawFrames:
    def test_they_come_out_as_they_went_in(self, model, pictures):
        result = piped("run", model, "-", "-", "--raw", "64x64", input=pictures.tobytes(), capture_output=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout == pictures.tobytes()
        assert b"1 of 1 inputs done: 20 frames" in result.stderr

    def test_a_stream_that_is_cut_gives_its_whole_frames(self, model, pictures):
        result = piped("run", model, "-", "-", "--raw", "64x64", input=pictures.tobytes()[:-1], capture_output=True)
        assert result.returncode == 1
        assert result.stdout == pictures[:-1].tobytes()
        assert b"The raw frames end in the middle of one: 12287 bytes came after frame 19" in result.stderr

    def test_a_reader_that_goes_away_is_one_sentence(self, model, tmp_path):
        reading, writing = os.pipe()
        os.close(reading)
        with (tmp_path / "frames").open("wb+") as frames, os.fdopen(writing, "wb") as gone:
            frames.write(bytes(100 * 64 * 64 * 3))
            frames.seek(0)
            result = piped("run", model, "-", "-", "--raw", "64x64", stdin=frames, stdout=gone, stderr=-1)
        assert result.returncode == 1
        lines = result.stderr.decode().splitlines()
        assert lines == ["error: Whoever reads the raw frames stopped after frame 0, so the run stops too. " + LET]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("-", "-"), ("say how large they are", "--raw 720x1280")),
            (("-", "out", "--raw", "64x64"), ("raw frames go from - to -", "- out")),
            (("-", "-", "--raw", "48"), ("expected HxW", "--raw")),
            (("-", "-", "--raw", "64x64", "--json"), ("--json is about files",)),
            (("-", "-", "--raw", "64x64", "--resume"), ("--resume is about files",)),
        ],
    )
    def test_what_does_not_go_with_them_is_refused(self, model, arguments, words):
        result = invoke("run", model, *arguments)
        assert result.returncode == 2
        assert all(word in result.stderr for word in words), result.stderr

    def test_a_terminal_is_refused(self, model):
        ours, theirs = pty.openpty()
        with os.fdopen(ours), os.fdopen(theirs) as terminal:
            result = piped("run", model, "-", "-", "--raw", "64x64", stdin=terminal, capture_output=True)
        assert result.returncode == 2
        assert b"standard input is a terminal" in result.stderr


LET = "Let it read to the end."


def test_two_on_the_cpu_do_what_one_does(exported, tmp_path):
    write_images(tmp_path / "in", photo_crops(30, 64))
    make_clip(tmp_path / "in" / "clip.mkv", photo_crops(20, 128))  # below 96, x264 is not deterministic
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        result = invoke("run", exported.onnx, tmp_path / "in", tmp_path / name, "--device", device, "--batch", 3)
        assert result.returncode == 0, result.stderr
    outputs = {path.name for path in (tmp_path / "one").iterdir()} - {"p2p-run.jsonl"}
    assert len(outputs) == 31
    for name in outputs:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert [line["summary"]["devices"] for line in read_record(tmp_path / "two") if "summary" in line] == [
        ["cpu", "cpu"]
    ]


def test_one_device_of_several_that_is_not_there_is_an_error(exported, tmp_path):
    write_images(tmp_path / "in", photo_crops(1, 64))
    result = invoke("run", exported.onnx, tmp_path / "in", tmp_path / "out", "--device", "cpu,cuda:9")
    assert_refused(result, "cuda:9 was asked for")
    assert not (tmp_path / "out").exists()
    result = invoke("run", exported.onnx, tmp_path / "in", tmp_path / "out", "--device", "cpu,")
    assert_refused(result, "Unknown device ''", "cuda:N")


class TestGallery:
    def test_it_is_written_after_the_run_and_for_the_whole_folder_after_resume(self, exported, tmp_path):
        write_images(tmp_path / "in", photo_crops(3, 64))
        out = tmp_path / "out"
        result = invoke("run", exported.onnx, tmp_path / "in", out, "--gallery")
        assert result.returncode == 0, result.stderr
        first = (out / GALLERY_NAME).read_text()
        assert_refused(invoke("run", exported.onnx, tmp_path / "in", out, "--gallery"), "exist")
        write_images(tmp_path / "in", photo_crops(5, 64))
        assert invoke("run", exported.onnx, tmp_path / "in", out, "--gallery", "--resume").returncode == 0
        second = (out / GALLERY_NAME).read_text()
        assert [page.count("<figure") for page in (first, second)] == [3, 5]

    def test_what_cannot_have_one_is_refused_before_the_run(self, exported, tmp_path):
        (path,) = write_images(tmp_path / "in", photo_crops(1, 64))
        result = invoke("run", exported.onnx, path, tmp_path / "x.png", "--gallery")
        assert_refused(result, "x.png is a file", "Name a folder")
        assert not (tmp_path / "x.png").exists()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / GALLERY_NAME).write_text("mine")
        result = invoke("run", exported.onnx, tmp_path / "in", tmp_path / "out", "--gallery")
        assert_refused(result, GALLERY_NAME, "exists already", "--overwrite")
        assert (tmp_path / "out" / GALLERY_NAME).read_text() == "mine"
        assert not (tmp_path / "out" / "0000.png").exists()
