"""Exports from the real exporter and the real builder."""

import re
import shutil

import numpy as np
import onnx
import pytest
import torch
from support import leftovers, photo_crops, unet_spec, varied_generator

import p2p_deploy
from p2p_deploy import export
from p2p_deploy.backends import cuda
from p2p_deploy.checkpoints import load_checkpoint, save_checkpoint
from p2p_deploy.errors import CheckpointError, DeviceError, ExportError, MissingDependency, OutputError, SpecError
from p2p_deploy.export import engine, export_checkpoint, verify
from p2p_deploy.files import sha256
from p2p_deploy.sidecar import read_sidecar
from p2p_deploy.spec import METADATA_KEY, PRECISION_KEY, ModelSpec


def graph(path):
    return onnx.load(path).graph


class TestOnnx:
    def test_equals_the_checkpoint_on_real_photographs(self, exported):
        assert exported.comparison.images == 8
        assert exported.comparison.max_levels <= 1
        assert exported.comparison.reference_std > 20  # the comparison says something

    def test_takes_and_gives_uint8_frames_with_the_channels_last_for_any_batch(self, exported):
        for value in (*graph(exported.onnx).input, *graph(exported.onnx).output):
            tensor = value.type.tensor_type
            dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
            assert dims == ["batch", 64, 64, 3]
            assert tensor.elem_type == onnx.TensorProto.UINT8

    def test_carries_its_spec_with_the_size_and_the_checkpoints_hash(self, exported, checkpoint):
        metadata = {entry.key: entry.value for entry in onnx.load(exported.onnx).metadata_props}
        assert set(metadata) == {METADATA_KEY, PRECISION_KEY}
        assert metadata[PRECISION_KEY] == "fp32"
        spec = ModelSpec.from_json(metadata[METADATA_KEY])
        assert spec == exported.spec
        assert spec.fixed_size == (64, 64)
        assert spec.source_sha256 == sha256(checkpoint)
        assert spec.created_with == f"p2p-deploy {p2p_deploy.__version__}"

    def test_uint8_touches_only_a_cast(self, exported):
        nodes = graph(exported.onnx).node
        assert [node.op_type for node in nodes if "frames" in node.input] == ["Cast"]
        assert [node.op_type for node in nodes if "outputs" in node.output] == ["Cast"]

    def test_norms_are_folded_away(self, exported):
        assert "BatchNormalization" not in {node.op_type for node in graph(exported.onnx).node}

    def test_nodes_are_named_after_their_modules_and_no_path_is_left(self, exported):
        names = {node.name for node in graph(exported.onnx).node}
        assert {"generator.downs.0.conv", "generator.ups.0.conv", "generator.Concat", "generator.Tanh"} <= names
        model = onnx.load(exported.onnx)
        for part in (model.graph, *model.graph.node, *model.graph.input):
            assert not part.metadata_props
        assert not re.search(rb"/[a-z0-9_.-]+/[a-z0-9_.-]+\.py", exported.onnx.read_bytes())

    def test_the_same_checkpoint_gives_the_same_bytes(self, checkpoint, exported, tmp_path):
        again = export_checkpoint(checkpoint, tmp_path / "again.onnx")
        assert again.onnx.read_bytes() == exported.onnx.read_bytes()

    @pytest.mark.parametrize("size", [(64, 96), (32, 128)])
    def test_another_size_can_be_asked_for(self, checkpoint, tmp_path, size):
        report = export_checkpoint(checkpoint, tmp_path / "wide.onnx", size=size)
        assert report.comparison.max_levels <= 1
        with p2p_deploy.load(report.onnx) as model:
            assert model(np.zeros((1, *size, 3), np.uint8)).shape == (1, *size, 3)

    def test_a_size_that_does_not_suit_is_refused(self, checkpoint, tmp_path):
        with pytest.raises(SpecError, match="multiples of 32"):
            export_checkpoint(checkpoint, tmp_path / "odd.onnx", size=(60, 64))

    def test_grey_inputs(self, tmp_path):
        spec = unet_spec(in_channels=1)
        save_checkpoint(tmp_path / "grey.pt", spec, varied_generator(spec), {})
        report = export_checkpoint(tmp_path / "grey.pt", tmp_path / "grey.onnx")
        assert report.comparison.max_levels <= 1
        with p2p_deploy.load(report.onnx) as model:
            assert model(photo_crops(2, 64, 1)).shape == (2, 64, 64, 3)


class TestPlan:
    def test_the_real_builder_builds_from_the_fp16_onnx(self, exported):
        sidecar = read_sidecar(exported.plan.plan)
        assert sidecar.plan_sha256 == sha256(exported.plan.plan)
        assert sidecar.plan_bytes == exported.plan.plan.stat().st_size > 10_000
        assert sidecar.source_onnx == exported.plan.onnx.name == "small.fp16.onnx"
        assert sidecar.source_onnx_sha256 == sha256(exported.plan.onnx)
        assert sidecar.spec == exported.spec
        assert sidecar.flavour in ("rtx", "tensorrt")
        assert sidecar.executed is False

    def test_the_precision_is_read_from_the_parsed_network(self, exported):
        precision = exported.plan.precision
        assert precision.convolutions == precision.half_convolutions == 10
        assert precision.layer_outputs["HALF"] > precision.layer_outputs["FLOAT"] > 0
        assert precision.layer_outputs["UINT8"] == 1

    def test_an_fp32_network_is_reported_as_such_whatever_was_asked(self, exported, tmp_path):
        built = engine.build_plan(exported.onnx, tmp_path / "fp32.plan", (1, 1, 2), engine.find_flavour())
        assert built.precision.half_convolutions == 0
        assert "generator.downs.0.conv" in built.precision.fp32_convolutions
        with pytest.raises(ExportError, match="0 of 10 convolutions in half"):
            engine.require_half(built.precision)

    def test_the_generator_is_half_and_the_pixel_arithmetic_is_not(self, exported):
        weights = {item.name: item.data_type for item in graph(exported.plan.onnx).initializer}
        assert {kind for name, kind in weights.items() if name.startswith("generator.")} == {onnx.TensorProto.FLOAT16}
        assert weights.keys() > {name for name in weights if name.startswith("generator.")}
        assert {kind for name, kind in weights.items() if not name.startswith("generator.")} == {onnx.TensorProto.FLOAT}
        assert exported.plan.comparison.psnr_db > 40

    def test_a_graph_the_parser_refuses_is_a_sentence_with_the_node(self, tmp_path):
        shape = onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
        node = onnx.helper.make_node("NoSuchOperator", ["frames"], ["outputs"], name="the.odd.one", domain="nowhere")
        made = onnx.helper.make_graph([node], "g", [shape], [onnx.helper.make_empty_tensor_value_info("outputs")])
        opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("nowhere", 1)]
        onnx.save(onnx.helper.make_model(made, opset_imports=opsets, ir_version=10), tmp_path / "odd.onnx")
        with pytest.raises(ExportError, match=r"cannot read odd\.onnx.*the\.odd\.one"):
            engine.build_plan(tmp_path / "odd.onnx", tmp_path / "odd.plan", (1, 1, 1), engine.find_flavour())


class TestFlavours:
    def missing(self, monkeypatch, *present):
        monkeypatch.setattr(engine, "_import_flavour", lambda name: Fake(name) if name in present else None)

    def test_with_neither_one_sentence_names_both(self, monkeypatch, checkpoint, tmp_path):
        self.missing(monkeypatch)
        with pytest.raises(MissingDependency, match=r"p2p-deploy\[trt\]'.*p2p-deploy\[trt-rtx\]'"):
            export_checkpoint(checkpoint, tmp_path / "x.onnx", trt=True)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("choice", "extra"), [("tensorrt", "trt"), ("rtx", "trt-rtx")])
    def test_the_one_that_was_asked_for_is_named(self, monkeypatch, choice, extra):
        self.missing(monkeypatch)
        with pytest.raises(MissingDependency, match=rf"p2p-deploy\[{extra}\]'$"):
            engine.find_flavour(choice)

    def test_tensorrt_comes_first_where_there_is_a_gpu(self, monkeypatch):
        self.missing(monkeypatch, "tensorrt", "rtx")
        monkeypatch.setattr(cuda, "device_count", lambda: 1)
        assert engine.find_flavour().name == "tensorrt"
        monkeypatch.setattr(cuda, "device_count", lambda: 0)
        assert engine.find_flavour().name == "rtx"

    def test_tensorrt_without_a_gpu_says_what_builds_without_one(self, monkeypatch):
        self.missing(monkeypatch, "tensorrt")
        monkeypatch.setattr(cuda, "device_count", lambda: 0)
        with pytest.raises(DeviceError, match=r"p2p-deploy\[trt-rtx\]'"):
            engine.find_flavour()


class Fake:
    """A TensorRT module as far as choosing one looks at it."""

    def __init__(self, name):
        self.name = name
        self.__version__ = "0"


class TestGate:
    def test_an_onnx_that_differs_is_not_left_behind(self, checkpoint, tmp_path, monkeypatch):
        real = export.write_onnx

        def slightly_wrong(generator, spec, path, precision):
            weights = varied_generator(load_checkpoint(checkpoint).spec, seed=1)
            real(weights, spec, path, precision)

        monkeypatch.setattr(export, "write_onnx", slightly_wrong)
        with pytest.raises(ExportError, match=r"does not give the checkpoint's pictures: max \d+.*Nothing was written"):
            export_checkpoint(checkpoint, tmp_path / "x.onnx")
        assert not list(tmp_path.iterdir())

    def test_a_failing_builder_leaves_nothing_behind(self, checkpoint, tmp_path, monkeypatch):
        def fail(*args):
            raise ExportError("the builder gave up")

        monkeypatch.setattr(export, "build_plan", fail)
        with pytest.raises(ExportError, match="gave up"):
            export_checkpoint(checkpoint, tmp_path / "x.onnx", trt=True)
        assert not list(tmp_path.iterdir())

    def test_a_checkpoint_that_gives_nan_is_refused(self, tmp_path):
        spec = unet_spec()
        generator = varied_generator(spec)
        with torch.no_grad():
            generator.downs[0].conv.weight[0, 0, 0, 0] = float("nan")
        save_checkpoint(tmp_path / "nan.pt", spec, generator, {})
        with pytest.raises(ExportError, match=r"checkpoint itself gives \d+ values that are NaN or infinite"):
            export_checkpoint(tmp_path / "nan.pt", tmp_path / "x.onnx")
        assert not (tmp_path / "x.onnx").exists()

    def test_a_network_of_one_colour_is_warned_of(self, exported, tmp_path):
        assert exported.warnings == ()
        spec = unet_spec()
        generator = varied_generator(spec)
        with torch.no_grad():
            generator.ups[0].conv.weight.zero_()
        save_checkpoint(tmp_path / "flat.pt", spec, generator, {})
        (warning,) = export_checkpoint(tmp_path / "flat.pt", tmp_path / "flat.onnx").warnings
        assert "almost one colour" in warning

    def test_the_comparison_measures_what_it_says(self):
        frames = photo_crops(3, 16)

        def brighter(batch):
            return np.minimum(batch.astype(int) + 2, 255).astype(np.uint8)

        equal = verify.compare(np.copy, np.copy, frames)
        assert (equal.max_levels, equal.mean_levels, equal.to_dict()["psnr_db"]) == (0, 0, None)
        off = verify.compare(np.copy, brighter, np.minimum(frames, 250))
        assert (off.max_levels, off.mean_levels) == (2, 2)
        assert off.psnr_db == pytest.approx(20 * np.log10(255 / 2))

    def test_the_photographs_are_real_distinct_and_fitted(self):
        spec = unet_spec(in_channels=1)
        photos = verify.check_photos(spec)
        assert photos.shape == (8, 64, 64, 1)
        assert photos.std(axis=(1, 2, 3)).min() > 10
        assert len({photo.tobytes() for photo in photos}) == 8


class TestFiles:
    def test_existing_files_are_refused_unless_they_may_be_replaced(self, checkpoint, tmp_path):
        (tmp_path / "x.onnx").write_text("precious")
        with pytest.raises(OutputError, match=r"x\.onnx exists already"):
            export_checkpoint(checkpoint, tmp_path / "x.onnx")
        assert (tmp_path / "x.onnx").read_text() == "precious"
        export_checkpoint(checkpoint, tmp_path / "x.onnx", overwrite=True)
        assert not leftovers(tmp_path)

    def test_what_is_no_checkpoint_is_refused(self, tmp_path):
        (tmp_path / "x.pt").write_bytes(b"not a checkpoint")
        with pytest.raises(CheckpointError, match=r"x\.pt"):
            export_checkpoint(tmp_path / "x.pt", tmp_path / "x.onnx")

    def test_a_plan_that_is_copied_away_still_matches_its_sidecar(self, exported, tmp_path):
        shutil.copy(exported.plan.plan, tmp_path / "moved.plan")
        shutil.copy(exported.plan.sidecar, tmp_path / "moved.plan.json")
        assert read_sidecar(tmp_path / "moved.plan").plan_sha256 == sha256(tmp_path / "moved.plan")
