"""The ONNX file itself: readable elsewhere, the same from anywhere, with its weights where they belong."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from helpers.support import ROOT, photo_crops, unet_spec, varied_generator

from p2p_deploy.backends.onnxruntime import OnnxRuntimeModel
from p2p_deploy.exporter import onnx as export_onnx
from p2p_deploy.exporter.export import export
from p2p_deploy.exporter.onnx import add_metadata, write_onnx
from p2p_deploy.options import ExportOptions
from p2p_deploy.spec import PRECISION_KEY


@pytest.fixture(scope="module")
def network():
    spec = unet_spec()
    return spec, varied_generator(spec)


@pytest.fixture(params=["fixed", "dynamic"])
def spec(request, network):
    return network[0].with_changes(fixed_size=(64, 64) if request.param == "fixed" else None)


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    """Files by size and precision, each written once."""
    folder, files = tmp_path_factory.mktemp("onnx"), {}

    def write(spec, precision):
        key = f"{'fixed' if spec.fixed_size else 'dynamic'}-{precision}"
        if key not in files:
            files[key] = folder / f"{key}.onnx"
            write_onnx(network[1], spec, files[key], precision)
        return files[key]

    return write


def expected(path):
    with OnnxRuntimeModel(path) as backend:
        return backend(photo_crops(2, 64))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvino_gives_the_same_pictures(spec, written, precision):
    import openvino

    path = written(spec, precision)
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = model(photo_crops(2, 64))[0]
    assert np.abs(given.astype(int) - expected(path)).max() <= (1 if precision == "fp32" else 3)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_is_valid_with_every_shape_inferred(spec, written, precision):
    model = onnx.load(written(spec, precision))
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert len(inferred.graph.value_info) >= len(model.graph.node) - 1
    dimensions = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dimensions == ["batch", *(spec.fixed_size or ("height", "width")), 3]
    assert {entry.key: entry.value for entry in model.metadata_props}[PRECISION_KEY] == precision


def test_weights_lie_inside_up_to_the_limit_and_beside_it_beyond(network, written, tmp_path, monkeypatch):
    spec = network[0].with_changes(fixed_size=(64, 64))
    inside = expected(written(spec, "fp32"))
    assert not written(spec, "fp32").with_name("fixed-fp32.onnx.data").exists()
    monkeypatch.setattr(export_onnx, "MAX_BYTES", 10_000)
    write_onnx(network[1], spec, tmp_path / "beside.onnx")
    assert (tmp_path / "beside.onnx.data").stat().st_size > 100_000
    assert (tmp_path / "beside.onnx").stat().st_size < 100_000
    np.testing.assert_array_equal(expected(tmp_path / "beside.onnx"), inside)
    (tmp_path / "moved").mkdir()
    for path in tmp_path.glob("beside*"):
        shutil.copy(path, tmp_path / "moved")
    np.testing.assert_array_equal(expected(tmp_path / "moved" / "beside.onnx"), inside)


def test_metadata_is_added_to_what_is_there(network, tmp_path):
    spec = network[0].with_changes(fixed_size=(64, 64))
    write_onnx(network[1], spec, tmp_path / "x.onnx")
    before = expected(tmp_path / "x.onnx")
    add_metadata(tmp_path / "x.onnx", {"note": "one"})
    add_metadata(tmp_path / "x.onnx", {"note": "two"})
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert metadata["note"] == "two"
    assert metadata[PRECISION_KEY] == "fp32"
    np.testing.assert_array_equal(expected(tmp_path / "x.onnx"), before)


def test_two_processes_two_folders_and_two_hash_seeds_give_the_same_bytes(checkpoint, tmp_path):
    """FP32 and FP16, quality figures included; nothing of the machine is in the file."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "p2p_deploy", elsewhere / "p2p_deploy", ignore=shutil.ignore_patterns("__pycache__"))
    targets = [tmp_path / f"{precision}.onnx" for precision in ("fp32", "fp16")]
    code = (
        "import sys\n"
        "from p2p_deploy import ExportOptions, export\n"
        "for precision, target in zip(('fp32', 'fp16'), sys.argv[2:]):\n"
        "    export(sys.argv[1], target, ExportOptions(precision=precision))\n"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(elsewhere)}
    command = [sys.executable, "-c", code, checkpoint, *targets]
    subprocess.run(command, check=True, env=environment, cwd=elsewhere, capture_output=True, timeout=120)
    for target in targets:
        here = tmp_path / f"here-{target.name}"
        export(checkpoint, here, ExportOptions(precision=target.stem))
        data = target.read_bytes()
        assert here.read_bytes() == data
        assert str(ROOT).encode() not in data
        assert str(tmp_path).encode() not in data
