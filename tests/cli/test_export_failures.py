"""What users of exporters complain about, provoked through the command line: the sentence, the exit code, the files."""

import json
import shutil

import pytest
import torch
from plans import pretend_gpu
from support import assert_refused, invoke, photo_crops, unet_spec, varied_generator, write_images

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.export import exporter
from p2p_deploy.sidecar import read_sidecar, sidecar_path


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
    real = exporter.write_onnx
    monkeypatch.setattr(exporter, "write_onnx", lambda generator, spec, path, *precision: real(generator, spec, path))
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
    real = exporter.write_onnx
    other = varied_generator(unet_spec(), seed=1)
    monkeypatch.setattr(exporter, "write_onnx", lambda generator, *rest: real(other, *rest))
    result = invoke("export", checkpoint, "-o", tmp_path)
    assert_refused(result, "does not give the checkpoint's pictures: max ", "expected at most 1 grey level")
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
