import importlib.metadata

import numpy as np
import onnx
import pytest
from helpers.networks import write_identity

from p2p_deploy.backends import load, onnxruntime
from p2p_deploy.errors import DeviceError, MissingDependency, ModelFileError, SpecError
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec import METADATA_KEY


def altered(source, target, change):
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


def test_a_file_of_another_program_is_refused(tmp_path, identity):
    path = altered(identity, tmp_path / "other.onnx", lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ModelFileError, match=r"another program.*p2p export"):
        load(path)


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("this is not protobuf")
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        load(path)


def test_a_graph_that_contradicts_its_spec_is_refused(tmp_path, identity):
    def shrink(model):
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[1].dim_value = 16

    with pytest.raises(ModelFileError, match=r"promises .*32.* the graph has .*16"):
        load(altered(identity, tmp_path / "altered.onnx", shrink))


def test_a_spec_of_a_later_major_is_refused_with_what_to_do(tmp_path, identity):
    def age(model):
        model.metadata_props[0].value = model.metadata_props[0].value.replace('"schema": "1.0"', '"schema": "2.0"')

    with pytest.raises(SpecError, match=r"schema '2.0'.*Update"):
        load(altered(identity, tmp_path / "newer.onnx", age))
    assert onnx.load(identity).metadata_props[0].key == METADATA_KEY


def test_both_packages_at_once_are_refused_with_what_to_remove(monkeypatch, identity):
    monkeypatch.setattr(importlib.metadata, "distributions", lambda name: [name])
    with pytest.raises(MissingDependency, match=r"pip uninstall -y onnxruntime onnxruntime-gpu"):
        load(identity)


def test_without_a_runtime_the_sentence_says_what_to_install(monkeypatch, identity):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"p2p-deploy\[cpu\]"):
        load(identity)


def test_a_silent_fallback_to_the_cpu_is_an_error(monkeypatch, identity):
    """ONNX Runtime lists CUDA, then opens the session without it when its libraries do not load."""
    runtime = onnxruntime.import_runtime()
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime.cuda, "device_count", lambda: 1)
    real = runtime.InferenceSession
    monkeypatch.setattr(
        runtime, "InferenceSession", lambda path, options, providers: real(path, options, ["CPUExecutionProvider"])
    )
    with pytest.raises(DeviceError, match=r"cuda:0 was asked for, but ONNX Runtime fell back to CPUExecutionProvider"):
        load(identity, LoadOptions(device="cuda:0"))


def test_a_gpu_beyond_the_last_is_an_error(monkeypatch, identity):
    runtime = onnxruntime.import_runtime()
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=r"cuda:7 was asked for, but there are 1 GPUs"):
        load(identity, LoadOptions(device="cuda:7"))


def test_the_number_of_threads_is_taken(identity):
    with load(identity, LoadOptions(threads=1)) as model:
        assert model.versions()["threads"] == "1"


def test_grey_frames_keep_their_channel_axis(tmp_path):
    with load(write_identity(tmp_path / "grey.onnx", channels=1)) as model:
        frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
        np.testing.assert_array_equal(model(frames), frames)


def test_values_go_in_and_come_out_as_float32(tmp_path):
    with load(write_identity(tmp_path / "values.onnx", io="float32")) as model:
        values = np.random.default_rng(0).uniform(-2, 2, (2, 3, 32, 32)).astype(np.float32)
        np.testing.assert_array_equal(model(values), values)
        with pytest.raises(ValueError, match=r"expected float32 frames of shape \(N, 3, 32, 32\), got uint8"):
            model(np.zeros((1, 32, 32, 3), np.uint8))
