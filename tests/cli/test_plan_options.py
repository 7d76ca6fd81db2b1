"""The options that only plans need: --rebuild on which GPU, --trust-plan before anything is built or run."""

import json

import pytest
from helpers.fake_gpu import Gpu
from helpers.plans import FLAVOURS, pretend_gpu, pretend_runtime, profile, write_plan
from helpers.support import assert_refused, invoke, photo_crops, write_images

from p2p_deploy.exporter.tensorrt import rebuild
from p2p_deploy.spec.sidecar import read_sidecar

PROFILES = (profile((1, 4, 8)),)
CODE = {"flavour": "tensorrt", "flavour_version": "11.4.0.106", "version_compatible": True}


@pytest.fixture
def inputs(tmp_path):
    write_images(tmp_path / "in", photo_crops(2, 64))
    return tmp_path / "in"


@pytest.fixture
def gpu(monkeypatch):
    """A machine on which plans run."""
    pretended = Gpu(count=2)
    for module, version in FLAVOURS.values():
        pretend_runtime(monkeypatch, pretended, module=module, version=version, profiles=PROFILES)
    return pretended


@pytest.fixture
def rebuilt(monkeypatch):
    """The devices that plans were built again on; they fit afterwards."""
    devices = []

    def build(plan, on_step, device):
        devices.append(device)
        write_plan(plan.parent, **{**CODE, "version_compatible": read_sidecar(plan).version_compatible})

    monkeypatch.setattr(rebuild, "rebuild_plan", build)
    return devices


def stale(tmp_path, **changes):
    """A plan of another major version."""
    return write_plan(tmp_path, **{**CODE, "flavour_version": "10.1.0.1", **changes})


def test_trust_is_asked_for_before_a_plan_is_built_again(tmp_path, inputs, gpu, rebuilt):
    plan = stale(tmp_path)
    before = plan.read_bytes()
    result = invoke("run", plan, inputs, tmp_path / "out", "--rebuild")
    assert_refused(result, "carries code", "say --trust-plan")
    assert (rebuilt, plan.read_bytes()) == ([], before)
    result = invoke("run", plan, inputs, tmp_path / "out", "--rebuild", "--trust-plan")
    assert result.returncode == 0, result.stderr
    assert gpu.host_code_allowed is True


@pytest.mark.parametrize(("device", "index"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_a_plan_is_built_again_on_the_gpu_it_is_to_run_on(tmp_path, inputs, gpu, rebuilt, device, index):
    gpu.device = index
    plan = stale(tmp_path, version_compatible=False)
    result = invoke("run", plan, inputs, tmp_path / "out", "--rebuild", "--device", device)
    assert result.returncode == 0, result.stderr
    assert rebuilt == [index]


def test_a_plan_for_rtx_is_run_without_being_trusted(tmp_path, inputs, gpu):
    plan = write_plan(tmp_path, version_compatible=True)
    result = invoke("run", plan, inputs, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert gpu.host_code_allowed is False


def test_bench_runs_a_plan_only_when_it_is_trusted(tmp_path, gpu, identity):
    plan = write_plan(tmp_path, **CODE)
    times = ("--batch", 1, "--warmup-ms", 0, "--duration-s", 0, "--json")
    assert_refused(invoke("bench", plan, *times), "say --trust-plan")
    result = invoke("bench", plan, identity, *times, "--trust-plan")
    assert result.returncode == 0, result.stderr
    assert [entry["backend"] for entry in json.loads(result.stdout)["results"]] == ["tensorrt", "onnxruntime"]
    assert gpu.host_code_allowed is True
    assert_refused(invoke("bench", identity, *times, "--trust-plan"), "--trust-plan is for TensorRT plans")


def test_verify_runs_a_plan_only_when_it_is_trusted(tmp_path, gpu, checkpoint):
    plan = write_plan(tmp_path, **CODE)
    assert_refused(invoke("verify", plan, "--against", checkpoint), "say --trust-plan")
    result = invoke("verify", plan, "--against", checkpoint, "--trust-plan")
    assert_refused(result, "does not give the checkpoint's pictures")  # but negatives
    assert gpu.host_code_allowed is True


def test_verify_refuses_trust_for_other_models(exported, checkpoint):
    result = invoke("verify", exported.onnx, "--against", checkpoint, "--trust-plan")
    assert_refused(result, "--trust-plan is for TensorRT plans")


def test_a_hostile_sidecar_is_a_sentence(tmp_path, monkeypatch):
    pretend_gpu(monkeypatch)
    for name, value in (("flavour_version", "9" * 5000), ("source_onnx", "x" * 300 + ".onnx"), ("plan_sha256", "")):
        plan = write_plan(tmp_path, **{name: value})
        for command in (("run", plan, tmp_path / "in", tmp_path / "out"), ("info", plan)):
            assert_refused(invoke(*command), "is not the sidecar of a plan", name)
