"""Bad input: a clear sentence, the right exit code, no traceback, nothing lost and nothing half-written."""

import os
import pickle
import stat
import subprocess
import sys

import numpy as np
import onnx
import pytest
from helpers.networks import write_identity
from helpers.support import (
    ROOT,
    assert_refused,
    invoke,
    leftovers,
    make_clip,
    p2p,
    photo_crops,
    read_clip,
    read_record,
    write_images,
)

from p2p_deploy.media.image.files import encode_image, read_image


@pytest.fixture
def inputs(tmp_path):
    write_images(tmp_path / "in", photo_crops(5, 32))
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class TestInputs:
    def test_a_missing_input(self, identity, out, tmp_path):
        assert_refused(p2p("run", identity, tmp_path / "nowhere", out), "nowhere does not exist", "Expected an image")
        assert not out.exists()

    def test_an_empty_folder(self, identity, out, tmp_path):
        (tmp_path / "empty").mkdir()
        assert_refused(invoke("run", identity, tmp_path / "empty", out), "holds no images or videos")
        assert not out.exists()

    def test_a_truncated_jpeg_among_good_ones(self, identity, inputs, out):
        jpeg = encode_image(photo_crops(1, 64)[0], ".jpg")
        (inputs / "cut.jpg").write_bytes(jpeg[: len(jpeg) * 2 // 3])
        result = invoke("run", identity, inputs, out)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert "5 of 6 inputs done" in result.stdout
        assert "cut.jpg is damaged" in result.stdout
        assert len(list(out.glob("*.png"))) == 5
        assert not leftovers(out)
        for index, frame in enumerate(photo_crops(5, 32)):
            np.testing.assert_array_equal(read_image(out / f"{index:03d}.png")[0], frame)

    def test_text_named_png(self, identity, inputs, out):
        (inputs / "text.png").write_text("Dear reader,\n")
        result = invoke("run", identity, inputs, out)
        assert result.returncode == 1
        assert "text.png is damaged, or is not an image" in result.stdout
        assert not (out / "text.png").exists()
        assert {line["input"]: line["status"] for line in read_record(out)[:-1]}["text.png"] == "failed"

    def test_a_video_of_zero_bytes(self, identity, inputs, out):
        (inputs / "empty.mp4").write_bytes(b"")
        result = invoke("run", identity, inputs, out)
        assert result.returncode == 1
        assert "empty.mp4 is damaged, or is not a video" in result.stdout
        assert "5 of 6" in result.stdout
        assert not (out / "empty.mp4").exists()

    def test_a_video_cut_in_the_middle(self, identity, out, tmp_path):
        whole = make_clip(tmp_path / "whole.mkv", np.repeat(photo_crops(25, 64), 4, axis=0), audio=True)
        cut = tmp_path / "cut.mkv"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        result = invoke("run", identity, cut, out)
        assert result.returncode == 1
        assert "1 incomplete" in result.stdout
        assert "ends early: its header promises 4.00 s" in result.stdout
        frames = read_clip(out / "cut.mkv")
        assert len(frames) == read_record(out)[0]["frames"] > 10
        assert [time for time, _ in frames] == [time for time, _ in read_clip(whole)][: len(frames)]
        assert not leftovers(out)

    def test_a_file_of_another_kind(self, identity, out, tmp_path):
        (tmp_path / "notes.txt").write_text("x")
        assert_refused(invoke("run", identity, tmp_path / "notes.txt", out), "not an image or video", ".png")


class TestModels:
    def test_a_missing_model(self, inputs, out, tmp_path):
        for name in ("m.onnx", "m.pt", "m.plan"):
            assert_refused(invoke("run", tmp_path / name, inputs, out), f"{name} does not exist")
        assert not out.exists()

    def test_a_pickle_that_would_run_code(self, inputs, out, tmp_path):
        trap = tmp_path / "executed"

        class RunsCode:
            def __reduce__(self):
                return os.mkdir, (str(trap),)

        (tmp_path / "evil.pt").write_bytes(pickle.dumps(RunsCode()))
        for arguments in (("run", tmp_path / "evil.pt", inputs, out), ("info", tmp_path / "evil.pt")):
            assert_refused(invoke(*arguments), "could run any code, so it was refused")
        assert_refused(invoke("export", tmp_path / "evil.pt", "-o", tmp_path), "refused and nothing was executed")
        assert not trap.exists()
        assert not out.exists()

    def test_an_onnx_of_another_program(self, identity, inputs, out, tmp_path):
        model = onnx.load(identity)
        model.ClearField("metadata_props")
        model.producer_name = "pytorch"
        onnx.save(model, tmp_path / "other.onnx")
        for arguments in (("run", tmp_path / "other.onnx", inputs, out), ("info", tmp_path / "other.onnx")):
            assert_refused(invoke(*arguments), "another program (written by pytorch)", "p2p export")
        assert not out.exists()

    def test_a_plan_whose_sidecar_is_missing(self, inputs, out, tmp_path):
        (tmp_path / "m.plan").write_bytes(b"plan")
        for arguments in (("run", tmp_path / "m.plan", inputs, out), ("info", tmp_path / "m.plan")):
            assert_refused(invoke(*arguments), "no sidecar m.plan.json beside it", "export both again, with --trt")

    def test_a_file_that_is_no_model(self, inputs, out, tmp_path):
        (tmp_path / "m.txt").write_text("x")
        assert_refused(invoke("run", tmp_path / "m.txt", inputs, out), "expected one of .onnx")
        assert_refused(invoke("info", tmp_path / "m.txt"), "expected one of .onnx")

    def test_a_model_that_does_not_take_the_batch_leaves_no_record(self, identity, inputs, out):
        assert_refused(invoke("run", identity, inputs, out, "--batch", 10**12), "do not fit into memory", "--batch")
        assert not out.exists()

    def test_a_gpu_that_is_not_there(self, identity, inputs, out):
        result = invoke("run", identity, inputs, out, "--device", "cuda:42")
        assert_refused(result, "cuda:42 was asked for", "--device cpu")
        assert not out.exists()


class TestOutputs:
    def test_out_inside_in(self, identity, inputs):
        for out in (inputs, inputs / "out"):
            assert_refused(invoke("run", identity, inputs, out), "lies inside the input folder")
        assert len(list(inputs.iterdir())) == 5

    def test_existing_outputs_are_not_touched(self, identity, inputs, out):
        out.mkdir()
        (out / "003.png").write_bytes(b"precious")
        assert_refused(invoke("run", identity, inputs, out), "003.png exists already", "--overwrite")
        assert [path.name for path in out.iterdir()] == ["003.png"]
        assert (out / "003.png").read_bytes() == b"precious"

    def test_a_folder_without_write_permission(self, inputs, tmp_path):
        """As an ordinary user: root may write everywhere, so a test that runs as root becomes nobody first."""
        model = write_identity(tmp_path / "m.onnx")
        out = tmp_path / "readonly"
        out.mkdir()
        for path in (*inputs.iterdir(), model):
            path.chmod(0o644)
        for folder in (inputs, *tmp_path.parents, tmp_path):
            if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(folder.stat().st_mode | 0o055)
        out.chmod(0o555)

        def run_as_nobody(source, target):
            # The first run imports everything while the interpreter's own files can still be read.
            code = (
                "import os, sys\n"
                "from p2p_deploy.cli import app\n"
                "model, source, target, rehearsal = sys.argv[1:]\n"
                "app(['run', model, source, rehearsal], standalone_mode=False)\n"
                "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
                "app(['run', model, source, target])\n"
            )
            rehearsal = tmp_path / f"rehearsal-{target.name}"
            command = [sys.executable, "-c", code, *map(str, (model, source, target, rehearsal))]
            return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)

        for target in (out, out / "new"):
            result = run_as_nobody(inputs, target)
            assert_refused(result, "readonly", "cannot be written: Permission denied", "Choose another output folder")
        result = run_as_nobody(inputs / "000.png", out / "one.png")
        assert_refused(result, "one.png cannot be written: Permission denied", "Take a folder you may write to")
        assert not list(out.iterdir())


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("run",),
            ("run", "m.onnx", "in", "out", "--batch", "0"),
            ("run", "m.onnx", "in", "out", "--no-such-option"),
            ("export", "c.pt", "--size", "256"),
            ("export", "c.pt", "--batch", "4,2,1"),
            ("export", "c.pt", "--batch", "1,2,²"),
            ("export", "c.pt", "--batch", "1,4,99999999999"),
            ("train", "pix2pix", "data", "-o", "run", "--seed", "99999999999999999999"),
            ("export", "c.pt", "--trt-flavour", "vanilla"),
            *(("export", "c.pt", "--min-psnr", value) for value in ("nan", "inf", "-inf", "-1")),
            ("verify", "x.onnx", "--against", "c.pt", "--min-psnr", "nan"),
            ("train", "nothing", "data", "-o", "run"),
            ("fly",),
        ],
    )
    def test_what_cannot_be_parsed_is_exit_code_2(self, arguments):
        result = invoke(*arguments)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ("export", "c.pt", "--size", "256"),
            ("export", "c.pt", "--trt", "--batch", "4,2,1"),
            ("export", "c.pt", "--trt", "--batch", "4"),
        ],
    )
    def test_what_cannot_be_parsed_is_named(self, arguments):
        assert f"Invalid value for '{arguments[-2]}': expected " in invoke(*arguments).stderr

    def test_a_number_that_compares_with_nothing_is_named(self):
        assert "Invalid value for '--min-psnr'" in invoke("export", "c.pt", "--min-psnr", "nan").stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("train", "pix2pix", "missing", "-o", "run"), "missing is not a folder"),
            (("export", "missing.pt"), "missing.pt does not exist"),
            (("info", "missing.onnx"), "missing.onnx does not exist"),
            (("bench", "missing.onnx"), "missing.onnx does not exist"),
        ],
    )
    def test_what_is_missing_is_a_sentence(self, arguments, words, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert_refused(invoke(*arguments), words)
        assert not list(tmp_path.iterdir())
