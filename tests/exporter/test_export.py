"""Exports from the real exporter and the real builder."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from helpers.plans import pretend_gpu
from helpers.support import ROOT, leftovers, photo_crops, unet_spec, varied_generator, write_images

import p2p_deploy
from p2p_deploy.backends.tensorrt.preflight import check_plan
from p2p_deploy.checkpoints import load_checkpoint, save_checkpoint
from p2p_deploy.errors import CheckpointError, ExportError, InputError, ModelFileError, OutputError, SpecError
from p2p_deploy.exporter import export as exporting, onnx as writing, quality
from p2p_deploy.exporter.export import export
from p2p_deploy.exporter.precision import with_instance_statistics
from p2p_deploy.exporter.tensorrt.rebuild import rebuild_plan
from p2p_deploy.exporter.verify import verify
from p2p_deploy.files import sha256
from p2p_deploy.generators import build_generator
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.options import ExportOptions, LoadOptions
from p2p_deploy.pixels import to_values
from p2p_deploy.spec import METADATA_KEY, PRECISION_KEY, QUALITY_KEY, ModelSpec
from p2p_deploy.spec.sidecar import read_sidecar


def graph(path):
    return onnx.load(path).graph


class TestOnnx:
    def test_equals_the_checkpoint_on_real_photographs(self, exported):
        assert exported.quality.images == 8
        assert exported.quality.max_levels <= 1
        assert exported.quality.reference_std > 20  # the comparison says something

    def test_takes_and_gives_uint8_frames_with_the_channels_last_for_any_batch(self, exported):
        for value in (*graph(exported.onnx).input, *graph(exported.onnx).output):
            tensor = value.type.tensor_type
            dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
            assert dims == ["batch", 64, 64, 3]
            assert tensor.elem_type == onnx.TensorProto.UINT8

    def test_carries_its_spec_with_the_size_and_the_checkpoints_hash(self, exported, checkpoint):
        metadata = {entry.key: entry.value for entry in onnx.load(exported.onnx).metadata_props}
        assert set(metadata) == {METADATA_KEY, PRECISION_KEY, QUALITY_KEY}
        assert metadata[PRECISION_KEY] == "fp32"
        figures = json.loads(metadata[QUALITY_KEY])
        assert figures == {
            **exported.quality.to_dict(),
            **{key: figures[key] for key in ("judged_by", "other_norm_statistics")},
        }
        assert figures["judged_by"] == "ONNX Runtime"
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

    def test_the_same_checkpoint_gives_the_same_bytes(self, checkpoint, exported, tmp_path, monkeypatch):
        monkeypatch.setattr(writing, "_export", writing._export.__wrapped__)  # traced again
        again = export(checkpoint, tmp_path / "again.onnx")
        assert again.onnx.read_bytes() == exported.onnx.read_bytes()

    @pytest.mark.parametrize("size", [(64, 96), (32, 128)])
    def test_another_size_can_be_asked_for(self, checkpoint, tmp_path, size):
        report = export(checkpoint, tmp_path / "wide.onnx", ExportOptions(sizes=(size,)))
        assert report.quality.max_levels <= 1
        with p2p_deploy.load(report.onnx) as model:
            assert model(np.zeros((1, *size, 3), np.uint8)).shape == (1, *size, 3)

    def test_a_size_that_does_not_suit_is_refused(self, checkpoint, tmp_path):
        with pytest.raises(SpecError, match="multiples of 32"):
            export(checkpoint, tmp_path / "odd.onnx", ExportOptions(sizes=((60, 64),)))

    def test_grey_inputs(self, tmp_path):
        spec = unet_spec(in_channels=1)
        save_checkpoint(tmp_path / "grey.pt", spec, varied_generator(spec), {})
        report = export(tmp_path / "grey.pt", tmp_path / "grey.onnx")
        assert report.quality.max_levels <= 1
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

    def test_the_generator_is_half_and_the_pixel_arithmetic_is_not(self, exported):
        weights = {item.name: item.data_type for item in graph(exported.plan.onnx).initializer}
        assert {kind for name, kind in weights.items() if name.startswith("generator.")} == {onnx.TensorProto.FLOAT16}
        assert weights.keys() > {name for name in weights if name.startswith("generator.")}
        assert {kind for name, kind in weights.items() if not name.startswith("generator.")} == {onnx.TensorProto.FLOAT}
        assert exported.plan.quality.psnr_db > 40


class TestGate:
    def test_an_onnx_that_differs_is_not_left_behind(self, checkpoint, tmp_path, monkeypatch):
        real = exporting.write_onnx

        def slightly_wrong(generator, spec, path, *precision):
            weights = varied_generator(load_checkpoint(checkpoint).spec, seed=1)
            real(weights, spec, path, *precision)

        monkeypatch.setattr(exporting, "write_onnx", slightly_wrong)
        with pytest.raises(ExportError, match=r"does not give the checkpoint's pictures: max \d+.*Nothing was written"):
            export(checkpoint, tmp_path / "x.onnx")
        assert not list(tmp_path.iterdir())

    def test_a_failing_builder_leaves_nothing_behind(self, checkpoint, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise ExportError("the builder gave up")

        monkeypatch.setattr(exporting, "build_plan", fail)
        with pytest.raises(ExportError, match="gave up"):
            export(checkpoint, tmp_path / "x.onnx", ExportOptions(trt=True))
        assert not list(tmp_path.iterdir())

    def test_a_checkpoint_that_gives_nan_is_refused(self, tmp_path):
        spec = unet_spec()
        generator = varied_generator(spec)
        with torch.no_grad():
            generator.downs[0].conv.weight[0, 0, 0, 0] = float("nan")
        save_checkpoint(tmp_path / "nan.pt", spec, generator, {})
        with pytest.raises(ExportError, match=r"checkpoint itself gives \d+ values that are NaN or infinite"):
            export(tmp_path / "nan.pt", tmp_path / "x.onnx")
        assert not (tmp_path / "x.onnx").exists()

    def test_a_network_of_one_colour_is_warned_of(self, exported, tmp_path):
        assert not any("one colour" in warning for warning in exported.warnings)
        spec = unet_spec()
        generator = varied_generator(spec)
        with torch.no_grad():
            generator.ups[0].conv.weight.zero_()
        save_checkpoint(tmp_path / "flat.pt", spec, generator, {})
        report = export(tmp_path / "flat.pt", tmp_path / "flat.onnx")
        assert any("almost one colour" in warning for warning in report.warnings)

    def test_the_comparison_measures_what_it_says(self):
        frames = photo_crops(3, 16)

        def brighter(batch):
            return np.minimum(batch.astype(int) + 2, 255).astype(np.uint8)

        equal = quality.compare(frames, np.copy, (frames,))
        assert (equal.max_levels, equal.mean_levels, equal.to_dict()["psnr_db"], equal.ssim) == (0, 0, None, 1)
        dark = np.minimum(frames, 250)
        off = quality.compare(dark, brighter, (dark,))
        assert (off.max_levels, off.mean_levels) == (2, 2)
        assert off.psnr_db == pytest.approx(20 * np.log10(255 / 2))
        assert quality.compare(frames, lambda batch: batch[:, ::-1], (frames,)).ssim < 0.5
        assert off.failure(exact=True, min_psnr=40)
        assert off.failure(exact=False, min_psnr=40) is None
        assert off.failure(exact=False, min_psnr=45)

    @pytest.mark.parametrize(("psnr", "bar"), [(50.0, float("nan")), (float("nan"), 40.0), (39.9, 40.0)])
    def test_a_number_that_compares_with_nothing_passes_no_gate(self, psnr, bar):
        measured = quality.Quality(1, 1, 0.1, psnr, None, 0, None, 30.0)
        assert measured.failure(exact=False, min_psnr=bar)
        assert replace(measured, psnr_db=float("inf")).failure(exact=False, min_psnr=40.0) is None

    def test_the_photographs_are_real_distinct_and_fitted(self):
        spec = unet_spec(in_channels=1)
        (photos,) = quality.check_inputs(spec)
        assert photos.shape == (8, 64, 64, 1)
        assert photos.std(axis=(1, 2, 3)).min() > 10
        assert len({photo.tobytes() for photo in photos}) == 8

    def test_images_of_ones_own_can_be_checked_with(self, checkpoint, tmp_path):
        write_images(tmp_path / "mine", photo_crops(3, 80))
        options = ExportOptions(check=tmp_path / "mine")
        assert export(checkpoint, tmp_path / "x.onnx", options).quality.images == 3
        (tmp_path / "mine" / "bad.png").write_text("no image")
        with pytest.raises(InputError, match=r"check with cannot be used: .*bad\.png"):
            export(checkpoint, tmp_path / "y.onnx", options)
        with pytest.raises(InputError, match="holds no images to check with"):
            export(checkpoint, tmp_path / "y.onnx", ExportOptions(check=tmp_path / "none"))

    def test_a_half_that_is_not_good_enough_is_not_written(self, checkpoint, tmp_path):
        with pytest.raises(ExportError, match=r"expected at least 200 dB.*`precision=auto`"):
            export(checkpoint, tmp_path / "x.onnx", ExportOptions(precision="fp16", min_psnr=200))
        assert not list(tmp_path.iterdir())


class TestNormStatistics:
    def test_instance_statistics_are_exported_and_the_difference_is_said(self, checkpoint, tmp_path):
        report = export(checkpoint, tmp_path / "x.onnx", ExportOptions(norm_stats="instance"))
        assert report.spec.norm_stats == "instance"
        assert report.quality.max_levels <= 1
        assert report.other_statistics > 2
        assert any("`norm_stats=running` gives visibly different" in warning for warning in report.warnings)
        network = with_instance_statistics(load_checkpoint(checkpoint).generator)
        frames = photo_crops(3, 64)
        with torch.no_grad():
            expected = FrameModel(network, report.spec)(torch.from_numpy(frames)).numpy().astype(int)
        with p2p_deploy.load(report.onnx) as model:
            together = model(frames).astype(int)
            alone = [model(frame[None])[0].astype(int) for frame in frames]
        assert np.abs(together - expected).max() <= 1
        assert np.abs(together - alone).max() <= 1  # no frame touches another

    def test_a_network_without_batchnorm_has_none_to_choose(self, tmp_path):
        spec = unet_spec().with_changes(arch_kwargs={"num_downs": 5, "ngf": 4, "norm": "instance"})
        save_checkpoint(tmp_path / "x.pt", spec, build_generator(spec.arch, spec.arch_kwargs), {})
        with pytest.raises(ExportError, match="has no BatchNorm"):
            export(tmp_path / "x.pt", tmp_path / "x.onnx", ExportOptions(norm_stats="instance"))
        assert export(tmp_path / "x.pt", tmp_path / "x.onnx").other_statistics is None


class TestValues:
    @pytest.mark.parametrize("dynamic", [False, True])
    def test_float32_artefacts_give_the_networks_own_values(self, checkpoint, dynamic, tmp_path):
        options = ExportOptions(io="float32", dynamic=dynamic, trt=not dynamic)
        report = export(checkpoint, tmp_path / "x.onnx", options)
        assert report.quality.max_levels <= 1
        frames = photo_crops(4, 64)
        values = to_values(frames, (-1, 1))
        with p2p_deploy.load(report.onnx) as model, torch.inference_mode():
            expected = load_checkpoint(checkpoint).generator(torch.from_numpy(values)).numpy()
            assert expected.std() > 0.1
            np.testing.assert_allclose(model(values), expected, atol=1e-4)
            if dynamic:
                assert model(np.zeros((3, 3, 32, 96), np.float32)).shape == (3, 3, 32, 96)
            found = verify(model, checkpoint)
        assert found.failure is None
        if report.plan:
            sidecar = read_sidecar(report.plan.plan)
            assert sidecar.spec.input.dtype == sidecar.spec.output.dtype == "float32"
            assert report.plan.precision.half_share == 1


class TestShapes:
    def test_several_fixed_sizes_are_refused(self, checkpoint, tmp_path):
        with pytest.raises(ExportError, match="2 sizes were asked for"):
            export(checkpoint, tmp_path / "x.onnx", ExportOptions(sizes=((64, 64), (96, 96))))

    def test_a_plan_in_float32_is_built_from_the_onnx_file_itself(self, checkpoint, tmp_path):
        report = export(checkpoint, tmp_path / "x.onnx", ExportOptions(trt=True, precision="fp32"))
        assert {path.name for path in tmp_path.iterdir()} == {"x.onnx", "x.plan", "x.plan.json"}
        assert report.plan.precision.half_share == 0
        sidecar = read_sidecar(report.plan.plan)
        assert sidecar.source_onnx == "x.onnx"
        assert sidecar.quality["max_levels"] <= 1


class TestRebuild:
    def test_a_plan_is_built_again_without_torch_from_the_onnx_beside_it(self, exported, tmp_path, monkeypatch):
        for path in (exported.plan.plan, exported.plan.sidecar, exported.plan.onnx):
            shutil.copy(path, tmp_path)
        plan = tmp_path / exported.plan.plan.name
        old = read_sidecar(plan)
        plan.write_bytes(b"a plan of another version")
        code = (
            "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxscript', 'onnxruntime']))\n"
            "from pathlib import Path\n"
            "from p2p_deploy.exporter.tensorrt.rebuild import rebuild_plan\n"
            "rebuild_plan(Path(sys.argv[1]))\n"
        )
        subprocess.run([sys.executable, "-c", code, str(plan)], check=True, cwd=ROOT, timeout=120)
        new = read_sidecar(plan)
        assert new.plan_sha256 == sha256(plan)
        assert plan.stat().st_size > 10_000
        assert (new.profiles, new.spec, new.source_onnx_sha256) == (old.profiles, old.spec, old.source_onnx_sha256)
        assert new.precision["half_share"] == 1
        pretend_gpu(monkeypatch)
        assert check_plan(plan, LoadOptions()).data == plan.read_bytes()

    @pytest.mark.parametrize(
        ("asked", "here", "built"),
        [((), "8.9", ()), ((), "12.1", ()), ((), "7.5", ("sm75",)), (("sm75",), "8.9", ("sm75", "sm89"))],
    )
    def test_it_is_built_for_the_gpu_that_is_here(self, exported, asked, here, built, tmp_path, monkeypatch):
        for path in (exported.plan.plan, exported.plan.onnx):
            shutil.copy(path, tmp_path)
        plan = tmp_path / exported.plan.plan.name
        replace(read_sidecar(exported.plan.plan), targets=asked).save(plan)
        pretend_gpu(monkeypatch, capability=here)
        assert rebuild_plan(plan).targets == built
        assert check_plan(plan, LoadOptions())

    def test_an_onnx_file_that_was_altered_builds_nothing(self, exported, tmp_path):
        for path in (exported.plan.plan, exported.plan.sidecar, exported.plan.onnx):
            shutil.copy(path, tmp_path)
        plan = tmp_path / exported.plan.plan.name
        before = plan.read_bytes()
        source = tmp_path / exported.plan.onnx.name
        source.write_bytes(source.read_bytes() + b" ")
        with pytest.raises(ModelFileError, match="SHA-256 differs"):
            rebuild_plan(plan)
        source.unlink()
        with pytest.raises(ModelFileError, match=r"small\.fp16\.onnx, which it was built from, is not beside it"):
            rebuild_plan(plan)
        assert plan.read_bytes() == before


class TestVerify:
    def test_holds_an_artefact_against_its_checkpoint(self, exported, checkpoint):
        with p2p_deploy.load(exported.onnx) as model:
            found = verify(model, checkpoint)
        assert found.failure is None
        assert found.same_checkpoint
        assert found.quality.max_levels <= 1

    def test_finds_another_checkpoint_out(self, exported, tmp_path):
        spec = unet_spec()
        save_checkpoint(tmp_path / "other.pt", spec, varied_generator(spec, seed=3), {})
        with p2p_deploy.load(exported.onnx) as model:
            found = verify(model, tmp_path / "other.pt")
        assert "expected at most 1 grey level" in found.failure
        assert not found.same_checkpoint


class TestFiles:
    def test_existing_files_are_refused_unless_they_may_be_replaced(self, checkpoint, tmp_path):
        (tmp_path / "x.onnx").write_text("precious")
        with pytest.raises(OutputError, match=r"x\.onnx exists already"):
            export(checkpoint, tmp_path / "x.onnx")
        assert (tmp_path / "x.onnx").read_text() == "precious"
        export(checkpoint, tmp_path / "x.onnx", ExportOptions(overwrite=True))
        assert not leftovers(tmp_path)

    def test_what_is_no_checkpoint_is_refused(self, tmp_path):
        (tmp_path / "x.pt").write_bytes(b"not a checkpoint")
        with pytest.raises(CheckpointError, match=r"x\.pt"):
            export(tmp_path / "x.pt", tmp_path / "x.onnx")

    def test_a_plan_that_is_copied_away_still_matches_its_sidecar(self, exported, tmp_path):
        shutil.copy(exported.plan.plan, tmp_path / "moved.plan")
        shutil.copy(exported.plan.sidecar, tmp_path / "moved.plan.json")
        assert read_sidecar(tmp_path / "moved.plan").plan_sha256 == sha256(tmp_path / "moved.plan")
