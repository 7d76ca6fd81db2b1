"""A full disk, Ctrl-C and SIGTERM: what was done stays, nothing is half-written, and one line says what happened."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.networks import write_identity
from helpers.support import (
    ROOT,
    assert_refused,
    invoke,
    leftovers,
    make_clip,
    photo_crops,
    read_record,
    write_images,
)

from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.cli._output import sigterm_as_ctrl_c
from p2p_deploy.errors import MissingDependency
from p2p_deploy.media.image.files import encode_image, read_image


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class TestDiskFull:
    """A limit on the size of files stands for the full disk: writing past it fails in the same places."""

    def run_limited(self, limit, *arguments):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            return invoke(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_images_that_were_done_stay_and_no_half_file_is_left(self, out, tmp_path):
        flat = np.full((6, 256, 256, 3), 90, np.uint8)
        write_images(tmp_path / "in", flat)
        noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        (tmp_path / "in" / "004.png").write_bytes(encode_image(noise, ".png"))  # the one that is too large
        model = write_identity(tmp_path / "m.onnx", size=256)
        result = self.run_limited(60_000, "run", model, tmp_path / "in", out, "--batch", "1")
        assert_refused(result, "004.png cannot be written: File too large", "and run again with --overwrite")
        assert not leftovers(out)
        outputs = sorted(path.name for path in out.glob("*.png"))
        assert outputs[:4] == ["000.png", "001.png", "002.png", "003.png"]
        assert "004.png" not in outputs
        for name in outputs:
            np.testing.assert_array_equal(read_image(out / name)[0], flat[0])
        lines = [line for line in read_record(out) if "input" in line]
        assert sorted(line["input"] for line in lines if line["status"] == "done") == outputs
        assert {line["input"]: line["status"] for line in lines}["004.png"] == "interrupted"

    def test_a_clip_that_does_not_fit_leaves_nothing(self, identity, out, tmp_path):
        random = np.random.default_rng(0)
        make_clip(tmp_path / "clip.mp4", random.integers(0, 256, (40, 128, 128, 3), dtype=np.uint8), crf="30")
        model = write_identity(tmp_path / "m.onnx", size=128)
        result = self.run_limited(100_000, "run", model, tmp_path / "clip.mp4", out)
        assert_refused(result, "clip.mp4 cannot be written: File too large")
        assert [path.name for path in out.iterdir()] == ["p2p-run.jsonl"]

    @pytest.mark.parametrize(
        ("limit", "words"),
        [
            (40, "tensorboard cannot be written: File too large"),
            (2_000, "step-0000020.png cannot be written: File too large"),
            (50_000, "ckpt.pt cannot be written; the disk may be full"),
        ],
    )
    def test_a_training_that_does_not_fit_says_where(self, limit, words, tmp_path):
        for side in ("A", "B"):
            write_images(tmp_path / "data" / side / "train", photo_crops(4, 48))
        run = tmp_path / "run"
        options = ("--size", 32, "--ngf", 8, "--steps", 20)
        result = self.run_limited(limit, "train", "pix2pix", tmp_path / "data", "-o", run, *options)
        assert_refused(result, words)
        assert not (run / "ckpt.pt").exists()
        assert not leftovers(run)

    def test_an_export_that_does_not_fit_leaves_nothing(self, checkpoint, tmp_path):
        result = self.run_limited(50_000, "export", checkpoint, "-o", tmp_path)
        assert_refused(result, "cannot be written: File too large")
        assert not list(tmp_path.iterdir())


class TestCtrlC:
    def start(self, *arguments, **kwargs):
        return subprocess.Popen(
            [sys.executable, "-m", "p2p_deploy", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            **kwargs,
        )

    def wait_for(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_a_run_finishes_what_is_under_way_and_stops(self, out, tmp_path):
        frames = photo_crops(7, 256)
        for index in range(1500):
            (tmp_path / "in").mkdir(exist_ok=True)
            if index < 7:
                (tmp_path / "in" / f"{index:04d}.png").write_bytes(encode_image(frames[index], ".png"))
            else:
                os.link(tmp_path / "in" / f"{index % 7:04d}.png", tmp_path / "in" / f"{index:04d}.png")
        model = write_identity(tmp_path / "m.onnx", size=256)
        process = self.start("run", model, tmp_path / "in", out, "--batch", "2")
        self.wait_for(lambda: (out / "p2p-run.jsonl").exists() and len(read_lines(out)) > 20)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
        assert "stopping after what is under way" in stderr
        assert "the rest is untouched" in stderr
        assert "of 1500 inputs done" in stdout
        outputs = {path.name for path in out.glob("*.png")}
        assert 20 <= len(outputs) < 1500
        assert outputs == {line["input"] for line in read_record(out) if "input" in line}
        assert read_record(out)[-1]["summary"]["interrupted"]
        assert not leftovers(out)
        for name in sorted(outputs)[-3:]:
            np.testing.assert_array_equal(read_image(out / name)[0], frames[int(name[:4]) % 7])

    def test_a_run_in_the_background_of_a_script_is_not_what_ctrl_c_means(self, out, tmp_path):
        make_clip(tmp_path / "clip.mp4", np.repeat(photo_crops(10, 128), 60, axis=0))
        model = write_identity(tmp_path / "m.onnx", size=128)
        ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
        process = self.start("run", model, tmp_path / "clip.mp4", out, **ignoring)
        self.wait_for(lambda: leftovers(out))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        assert read_record(out)[0]["status"] == "done"

    def test_sigterm_stops_a_run_the_same_way(self, out, tmp_path):
        make_clip(tmp_path / "clip.mp4", np.repeat(photo_crops(10, 128), 60, axis=0))
        model = write_identity(tmp_path / "m.onnx", size=128)
        process = self.start("run", model, tmp_path / "clip.mp4", out)
        self.wait_for(lambda: leftovers(out))
        process.terminate()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "stopping after what is under way" in stderr
        assert not leftovers(out)
        assert read_record(out)[0]["status"] == "interrupted"

    @pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
    def test_an_export_stops_with_one_line_wherever_it_is(self, checkpoint, number, name, tmp_path):
        process = self.start("export", checkpoint, "-o", tmp_path)
        for line in process.stderr:
            if "writing and comparing" in line:
                break
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert stderr == f"stopped by {name}.\n"
        assert not list(tmp_path.iterdir())

    def test_sigterm_stops_what_only_measures(self, exported, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        process = self.start("bench", exported.onnx, "--duration-s", 60)
        self.wait_for(lambda: list(tmp_path.glob("p2p-*")))
        time.sleep(1)
        process.terminate()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert stderr == "stopped by SIGTERM.\n"
        assert not list(tmp_path.glob("p2p-*"))

    def test_an_import_that_was_interrupted_is_no_package_that_is_missing(self, exported, tmp_path, monkeypatch):
        def interrupted():
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as exc:
                raise MissingDependency("initialization failed") from exc

        monkeypatch.setattr("p2p_deploy.backends.onnxruntime.import_runtime", interrupted)
        result = invoke("bench", exported.onnx)
        assert (result.returncode, result.stderr) == (130, "stopped by Ctrl-C.\n")

    def test_sigterm_goes_to_whoever_has_taken_ctrl_c_over(self, monkeypatch):
        """A builder is stopped through its monitor, since what a handler raises inside it is lost."""
        seen = []
        before = (
            signal.getsignal(signal.SIGTERM),
            signal.signal(signal.SIGINT, lambda number, frame: seen.append(number)),
        )
        try:
            with sigterm_as_ctrl_c():
                signal.raise_signal(signal.SIGTERM)
                assert seen == [signal.SIGTERM]
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
                    signal.raise_signal(signal.SIGTERM)
        finally:
            signal.signal(signal.SIGINT, before[1])
        assert signal.getsignal(signal.SIGTERM) == before[0]

    def test_a_training_stops_with_a_checkpoint(self, tmp_path):
        for side in ("A", "B"):
            write_images(tmp_path / "data" / side / "train", photo_crops(4, 48))
        run = tmp_path / "run"
        options = ("--size", 32, "--ngf", 4, "--steps", 100000)
        process = self.start("train", "pix2pix", tmp_path / "data", "-o", run, *options)
        self.wait_for(lambda: list((tmp_path / "run").glob("tensorboard/*")))
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in stderr
        assert "stopped; the checkpoint is of the last step" in stderr
        assert f"checkpoint: {run / 'ckpt.pt'}" in stdout
        assert 0 < load_checkpoint(run / "ckpt.pt").training["step"] < 100000


def read_lines(folder):
    return [json.loads(line) for line in (folder / "p2p-run.jsonl").read_text().split("\n")[:-1]]
