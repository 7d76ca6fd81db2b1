"""What users of exporters complain about, provoked through the command line: the sentence, the exit code, the files."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from helpers.plans import pretend_gpu
from helpers.support import assert_refused, invoke, photo_crops, unet_spec, varied_generator, write_images

from p2p_deploy.backends import base
from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.errors import OutputError
from p2p_deploy.exporter import export
from p2p_deploy.files import replacing
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.spec import ImageSpec
from p2p_deploy.spec.sidecar import read_sidecar, sidecar_path


@pytest.fixture
def overflowing(tmp_path):
    """A checkpoint with values beyond half between two convolutions."""
    spec = unet_spec()
    generator = varied_generator(spec).requires_grad_(False)
    generator.downs[1].norm.weight.mul_(2.0**14)
    generator.downs[1].norm.bias.mul_(2.0**14)
    generator.downs[2].conv.weight.div_(2.0**14)
    generator.ups[1].conv.weight[: generator.downs[1].conv.out_channels].div_(2.0**14)
    save_checkpoint(tmp_path / "over.pt", spec, generator, {})
    return tmp_path / "over.pt"


@pytest.fixture
def plan(exported, tmp_path):
    for path in (exported.plan.plan, exported.plan.sidecar, exported.plan.onnx, exported.onnx):
        shutil.copy(path, tmp_path)
    return tmp_path / exported.plan.plan.name


def only(folder, *names):
    return {path.name for path in folder.iterdir()} == set(names)


def test_float32_delivered_where_half_was_asked_for(checkpoint, tmp_path, monkeypatch):
    real = export.write_onnx
    monkeypatch.setattr(export, "write_onnx", lambda generator, spec, path, *precision: real(generator, spec, path))
    result = invoke("export", checkpoint, "--trt", "-o", tmp_path)
    assert_refused(
        result, "A plan in half was asked for, but only 0 %", "generator.downs.0.conv", "No plan was written"
    )
    assert only(tmp_path)
    assert invoke("export", checkpoint, "--trt", "--force", "-o", tmp_path).returncode == 0


@pytest.mark.parametrize("trt", [(), ("--trt",)])
def test_a_network_that_overflows_half(overflowing, tmp_path, trt):
    result = invoke("export", overflowing, "--precision", "fp16", *trt, "-o", tmp_path / "x.onnx")
    assert_refused(result, "NaN or infinite, first in downs.1.conv", "Nothing was written", "--precision auto")
    assert only(tmp_path, "over.pt")


def test_auto_precision_exports_what_overflows(overflowing, tmp_path):
    result = invoke("export", overflowing, "--precision", "auto", "-o", tmp_path / "x.onnx")
    assert result.returncode == 0, result.stderr
    assert "first in downs.1.conv" in result.stdout
    facts = json.loads(invoke("info", tmp_path / "x.onnx", "--json").stdout)
    assert facts["precision"] in ("fp16", "fp32")
    assert not facts["quality"]["non_finite"]


def test_auto_precision_builds_a_plan_of_what_overflows(overflowing, tmp_path):
    result = invoke("export", overflowing, "--precision", "auto", "--trt", "-o", tmp_path / "x.onnx")
    assert result.returncode == 0, result.stderr
    facts = json.loads(invoke("info", tmp_path / "x.plan", "--json").stdout)
    assert facts["precision"]["asked"] in ("bf16", "fp32")
    assert not facts["quality"].get("non_finite")


def test_an_artefact_that_differs_from_the_checkpoint(checkpoint, tmp_path, monkeypatch):
    real = export.write_onnx
    other = varied_generator(unet_spec(), seed=1)
    monkeypatch.setattr(export, "write_onnx", lambda generator, *rest: real(other, *rest))
    result = invoke("export", checkpoint, "-o", tmp_path)
    assert_refused(result, "does not give the checkpoint's pictures: max ", "expected at most 1 grey level", "--check")
    assert only(tmp_path)


def test_statistics_that_would_give_other_pictures_are_said(checkpoint, tmp_path):
    result = invoke("export", checkpoint, "-o", tmp_path)
    assert result.returncode == 0
    assert "--norm-stats instance gives visibly different pictures" in result.stderr
    assert json.loads(invoke("info", tmp_path / "small.onnx", "--json").stdout)["quality"]["other_norm_statistics"] > 2


def test_weights_that_do_not_fit_the_network(checkpoint, tmp_path):
    contents = torch.load(checkpoint, weights_only=True)
    del contents["generator"]["downs.2.conv.weight"]
    torch.save(contents, tmp_path / "less.pt")
    result = invoke("export", tmp_path / "less.pt", "-o", tmp_path)
    assert_refused(result, "the weights do not fit unet", "downs.2.conv.weight")


def test_a_plan_is_the_builders_bytes_and_nothing_else(exported):
    """TensorRT's own tools load it: what we know lies beside it."""
    data = exported.plan.plan.read_bytes()
    assert b"p2p" not in data[:64]
    assert read_sidecar(exported.plan.plan).plan_bytes == len(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flavour_version": "1.0.0.1"}, "needs TensorRT for RTX exactly 1.0.0.1"),
        ({"platform": "linux-riscv64"}, "riscv64"),
        ({"compute_capabilities": ["7.5"], "targets": ["sm75"]}, "7.5"),
        ({"plan_sha256": "0" * 64}, "SHA-256 differs"),
    ],
)
def test_a_plan_that_does_not_fit_this_machine(plan, change, words, tmp_path, monkeypatch):
    pretend_gpu(monkeypatch)
    path = sidecar_path(plan)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    write_images(tmp_path / "in", photo_crops(2, 64))
    assert_refused(invoke("run", plan, tmp_path / "in", tmp_path / "out"), words, "--rebuild")
    assert not (tmp_path / "out").exists()


def test_a_plan_that_does_not_fit_is_built_again_when_allowed(plan, tmp_path, monkeypatch):
    """What runs it then needs a real GPU; here its absence is said after the plan was built."""
    pretend_gpu(monkeypatch)
    before = plan.read_bytes()
    path = sidecar_path(plan)
    path.write_text(json.dumps({**json.loads(path.read_text()), "flavour_version": "1.0.0.1"}))
    write_images(tmp_path / "in", photo_crops(2, 64))
    result = invoke("run", plan, tmp_path / "in", tmp_path / "out", "--rebuild")
    assert_refused(result, "needs TensorRT for RTX exactly 1.0.0.1", "building small.plan")
    assert plan.read_bytes() != before
    assert read_sidecar(plan).flavour_version != "1.0.0.1"


@pytest.mark.parametrize("size", ["60x64", "16x64", "0x64"])
def test_a_size_the_network_does_not_take(checkpoint, size, tmp_path):
    assert_refused(invoke("export", checkpoint, "--size", size, "-o", tmp_path), "multiples of 32 and at least 32")
    assert only(tmp_path)


class TestPlaces:
    """What cannot be written is named as the user knows it, and a refused export leaves the disk as it was."""

    def test_a_folder_that_is_a_file(self, checkpoint, tmp_path):
        (tmp_path / "file").write_text("precious")
        result = invoke("export", checkpoint, "-o", tmp_path / "file" / "x.onnx")
        assert_refused(result, f"error: {tmp_path / 'file'} is no folder. Nothing was written.")
        result = invoke("export", checkpoint, "-o", tmp_path / "file" / "sub" / "x.onnx")
        assert_refused(result, f"{tmp_path / 'file' / 'sub'} cannot be made a folder", "Choose another place")
        assert (tmp_path / "file").read_text() == "precious"

    def test_a_folder_in_which_nothing_can_be_made(self, checkpoint):
        result = invoke("export", checkpoint, "-o", "/proc/x.onnx")
        assert_refused(result, "error: Nothing can be written into the folder /proc: ", "Choose another folder")
        assert ".p2p-export" not in result.stderr

    def test_a_file_that_does_not_fit(self, checkpoint, tmp_path, monkeypatch):
        def full(generator, spec, path, *precision):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(export, "write_onnx", full)
        result = invoke("export", checkpoint, "-o", tmp_path / "new" / "x.onnx")
        place = tmp_path / "new" / "x.onnx"
        assert_refused(result, f"error: {place} cannot be written: No space left on device. Nothing was written.")
        assert only(tmp_path)

    def test_a_plan_that_does_not_fit(self, checkpoint, tmp_path, monkeypatch):
        def full(source, plan, *rest):
            with replacing(plan):
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(export, "build_plan", full)
        result = invoke("export", checkpoint, "--trt", "-o", tmp_path / "x.onnx")
        place = tmp_path / "x.plan"
        assert_refused(result, f"error: {place} cannot be written: No space left on device. Nothing was written.")
        assert only(tmp_path)

    def test_what_was_moved_already_is_said(self, checkpoint, tmp_path):
        (tmp_path / "out").mkdir()

        def taken(precision):
            (tmp_path / "out" / "x.plan").mkdir()  # after the places were looked at

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export, "require_half", taken)
            result = invoke("export", checkpoint, "--trt", "-o", tmp_path / "out" / "x.onnx")
        assert_refused(result, "x.plan cannot be written: Is a directory. x.fp16.onnx, x.onnx was written before it")

    def test_folders_that_an_export_made_go_when_it_fails(self, checkpoint, tmp_path, monkeypatch):
        def fail(*rest):
            raise OutputError("no")

        monkeypatch.setattr(export, "write_onnx", fail)
        (tmp_path / "old").mkdir()
        invoke("export", checkpoint, "-o", tmp_path / "old" / "new" / "newer" / "x.onnx")
        assert only(tmp_path, "old")
        assert only(tmp_path / "old")

    def test_the_checkpoint_itself_is_not_replaced(self, checkpoint, tmp_path):
        shutil.copy(checkpoint, tmp_path / "self.onnx")
        (tmp_path / "link").symlink_to(tmp_path)
        for output in (tmp_path, tmp_path / "link" / "self.onnx"):
            result = invoke("export", tmp_path / "self.onnx", "-o", output, "--overwrite")
            assert_refused(result, "self.onnx would replace the checkpoint it is made from", "-o")
        assert (tmp_path / "self.onnx").read_bytes() == checkpoint.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--force",), "--force only concerns a plan, and none is built: add --trt or leave it out."),
        (("--batch", "1,2,4"), "--batch only concerns"),
        (("--trt-flavour", "rtx"), "--trt-flavour only concerns"),
        (("--timing-cache", "x", "--targets", "sm89"), "--targets, --timing-cache only concern a plan"),
        (("--workspace-gib", 1, "--optimization-level", 0), "--workspace-gib, --optimization-level only"),
        (("--version-compatible", "--hardware-compatible", "same-cc"), "leave them out"),
    ],
)
def test_options_of_plans_are_refused_where_none_is_built(checkpoint, options, words, tmp_path):
    assert_refused(invoke("export", checkpoint, *options, "-o", tmp_path), words)
    assert only(tmp_path)


def test_bf16_with_rtx_says_what_to_take_instead(checkpoint, tmp_path):
    options = ("--trt", "--trt-flavour", "rtx", "--precision", "bf16")
    result = invoke("export", checkpoint, *options, "-o", tmp_path)
    assert_refused(result, "no transposed convolutions", "Take --precision fp16 or auto")
    assert "yelin" not in result.stderr
    assert only(tmp_path)


class TestVerify:
    def test_a_checkpoint_of_another_network_is_told_apart(self, exported, tmp_path):
        others = {
            "grey": (unet_spec(in_channels=1), "takes gray images from -1 to 1"),
            "deep": (unet_spec(size=128, num_downs=7), "takes 64x64 pixels, which ", "multiples of 128"),
        }
        for name, (spec, *words) in others.items():
            save_checkpoint(tmp_path / f"{name}.pt", spec, varied_generator(spec), {})
            result = invoke("verify", exported.onnx, "--against", tmp_path / f"{name}.pt")
            assert_refused(result, *words, f"{name}.pt", "Name the checkpoint it was exported from.")

    def test_a_checkpoint_of_a_fixed_size_and_one_of_another_range(self, exported, tmp_path):
        spec = unet_spec()
        wide = ImageSpec(3, value_range=(0, 1))
        for name, changes, words in (
            ("fixed", {"fixed_size": (96, 96)}, "its size 96x96 is in its weights"),
            ("range", {"output": wide}, "gives rgb images from 0 to 1"),
        ):
            save_checkpoint(tmp_path / f"{name}.pt", spec.with_changes(**changes), varied_generator(spec), {})
            assert_refused(invoke("verify", exported.onnx, "--against", tmp_path / f"{name}.pt"), words)

    def test_a_checkpoint_is_not_held_against_itself(self, checkpoint):
        result = invoke("verify", checkpoint, "--against", checkpoint)
        assert_refused(result, "is a checkpoint itself", ".onnx", ".plan")


class TestMemory:
    """Whoever finds that there is not enough: one sentence, with the size in it."""

    def run_out(self, checkpoint, exported, folder):
        for arguments in (
            ("export", checkpoint, "--size", "96x64", "-o", folder / "x.onnx"),
            ("verify", exported.onnx, "--against", checkpoint),
        ):
            result = invoke(*arguments)
            assert_refused(result, "not enough memory for images of ", "x64 pixels", "a smaller --size")
            assert "--batch" not in result.stderr
        assert only(folder)

    def test_torch(self, checkpoint, exported, tmp_path, monkeypatch):
        monkeypatch.setattr(FrameModel, "translate", lambda *rest: torch.empty(1 << 56, dtype=torch.uint8))
        self.run_out(checkpoint, exported, tmp_path)

    def test_numpy_in_a_slot(self, checkpoint, exported, tmp_path, monkeypatch):
        monkeypatch.setattr(base, "Slot", lambda *rest: np.empty(1 << 56, np.uint8))
        self.run_out(checkpoint, exported, tmp_path)

    def test_what_fails_for_another_reason_says_so(self, checkpoint, tmp_path, monkeypatch):
        def fail(*rest):
            raise OutputError("out of memory cards")

        monkeypatch.setattr(export, "write_onnx", fail)
        assert_refused(invoke("export", checkpoint, "-o", tmp_path), "error: out of memory cards")


def test_opencv_is_silenced_by_what_reads_images_to_check_with(checkpoint, exported, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    log = cv2.utils.logging
    for arguments in (("export", checkpoint, "-o", tmp_path), ("verify", exported.onnx, "--against", checkpoint)):
        log.setLogLevel(log.LOG_LEVEL_WARNING)
        try:
            assert_refused(invoke(*arguments, "--check", tmp_path), "bad.png")
            assert log.getLogLevel() == log.LOG_LEVEL_SILENT
        finally:
            log.setLogLevel(log.LOG_LEVEL_SILENT)
