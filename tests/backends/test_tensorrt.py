"""Plans on a machine that cannot run them: each case one sentence, naming the way on."""

import json
import shutil

import pytest

from p2p_deploy.backends import cuda, load, tensorrt
from p2p_deploy.errors import DeviceError, MissingDependency, ModelFileError
from p2p_deploy.sidecar import read_sidecar, sidecar_path


@pytest.fixture
def plan(exported, tmp_path):
    for path in (exported.plan.plan, exported.plan.sidecar, exported.plan.onnx, exported.onnx):
        shutil.copy(path, tmp_path)
    return tmp_path / exported.plan.plan.name


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(cuda, "device_count", lambda: 1)


def test_without_a_gpu_the_onnx_file_beside_it_is_named(plan, monkeypatch):
    monkeypatch.setattr(cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU; none is visible.*p2p run .*small\.onnx"):
        load(plan)


def test_the_cpu_cannot_run_a_plan(plan):
    with pytest.raises(DeviceError, match=r"not on the CPU.*small\.onnx"):
        load(plan, device="cpu")


def test_without_an_onnx_file_beside_it_the_way_to_one_is_named(plan):
    for path in plan.parent.glob("*.onnx"):
        path.unlink()
    with pytest.raises(DeviceError, match="p2p export CKPT writes it"):
        load(plan, device="cpu")


def test_an_onnx_file_of_another_checkpoint_is_not_offered(plan):
    plan.with_suffix(".onnx").write_bytes(b"of another checkpoint")
    with pytest.raises(DeviceError, match=r"small\.fp16\.onnx beside it is the same network"):
        load(plan, device="cpu")


def test_without_the_runtime_the_extra_is_named(plan, with_gpu, monkeypatch):
    monkeypatch.setitem(tensorrt.RUNTIMES, "rtx", (("no_such_module",), "trt-rtx"))
    with pytest.raises(MissingDependency, match=r"rtx flavour.*p2p-deploy\[trt-rtx\]"):
        load(plan)


def test_an_altered_plan_is_refused(plan, with_gpu):
    data = bytearray(plan.read_bytes())
    data[1000] ^= 1
    plan.write_bytes(data)
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        load(plan)


def test_a_sound_plan_on_a_gpu_is_not_executed_by_this_version(plan, with_gpu):
    with pytest.raises(ModelFileError, match=r"is sound.*does not execute plans.*small\.onnx"):
        load(plan)


def test_a_missing_sidecar_is_named(plan):
    sidecar_path(plan).unlink()
    with pytest.raises(ModelFileError, match=r"no sidecar small\.plan\.json.*p2p export CKPT --trt"):
        load(plan)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "1.0"}', "\xff"])
def test_a_broken_sidecar_is_refused(plan, text):
    sidecar_path(plan).write_text(text, encoding="latin-1")
    with pytest.raises(ModelFileError, match="not the sidecar of a plan"):
        load(plan)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", [1, 4]),
        ("profile", ["1", "4", "8"]),
        ("precision", "half"),
        ("quality", []),
        ("flavour", {"name": "rtx"}),
        ("source_onnx", None),
        ("spec", "unet"),
    ],
)
def test_a_sidecar_with_a_value_of_another_type_is_refused(plan, key, value):
    data = json.loads(sidecar_path(plan).read_text())
    sidecar_path(plan).write_text(json.dumps({**data, key: value}))
    with pytest.raises(ModelFileError, match="not the sidecar of a plan"):
        read_sidecar(plan)


def test_a_sidecar_of_a_later_schema_is_refused(plan):
    data = json.loads(sidecar_path(plan).read_text())
    sidecar_path(plan).write_text(json.dumps({**data, "schema": "2.0"}))
    with pytest.raises(ModelFileError, match=r"schema '2.0'"):
        read_sidecar(plan)
