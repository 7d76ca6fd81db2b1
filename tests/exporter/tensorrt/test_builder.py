"""Plans from the real builder: TensorRT for RTX needs no GPU."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pytest
import torch
from helpers.graphs import ANY, MACS_OF_A_KERNEL, ONE, assert_nothing_left, build, write_graph
from helpers.support import ROOT, leftovers, unet_spec, varied_generator
from onnx import TensorProto, helper

from p2p_deploy.backends.tensorrt.log import log_of
from p2p_deploy.errors import ExportError, OptionError, OutputError
from p2p_deploy.exporter.onnx import write_onnx
from p2p_deploy.exporter.precision import multiply_accumulates
from p2p_deploy.exporter.tensorrt import builder, flavours
from p2p_deploy.exporter.tensorrt.builder import build_plan
from p2p_deploy.exporter.tensorrt.config import configure
from p2p_deploy.exporter.tensorrt.flavours import find_flavour
from p2p_deploy.exporter.tensorrt.layers import PrecisionReport, require_half
from p2p_deploy.options.export import BuildOptions
from p2p_deploy.spec.sidecar import Profile


class TestPlan:
    def test_any_batch_height_and_width(self, graph):
        built = build(graph)
        assert graph.with_suffix(".plan").stat().st_size > 10_000
        assert built.profiles == (ANY,)
        assert built.warnings == ()
        assert built.seconds > 0
        assert not leftovers(graph.parent)

    def test_several_profiles_are_in_the_plan(self, graph):
        build(graph, ONE)
        one = graph.with_suffix(".plan").stat().st_size
        assert build(graph, ONE, ANY).profiles == (ONE, ANY)
        assert graph.with_suffix(".plan").stat().st_size > one

    def test_what_the_graph_fixes_is_the_graphs_in_every_profile(self, tmp_path):
        path = write_graph(tmp_path / "fixed.onnx", size=(64, 96))
        built = build(path, Profile((1, 4, 16), (32, 32, 512), (32, 32, 512)), ANY)
        assert built.profiles == tuple(Profile(batch, (64, 64, 64), (96, 96, 96)) for batch in ((1, 4, 16), (1, 2, 4)))
        entirely = write_graph(tmp_path / "entirely.onnx", size=(64, 96), batch=2)
        assert build(entirely).profiles == (Profile((2, 2, 2), (64, 64, 64), (96, 96, 96)),)

    def test_float32_frames_with_the_channels_first(self, tmp_path):
        built = build(write_graph(tmp_path / "float.onnx", uint8=False))
        assert built.profiles == (ANY,)
        assert "UINT8" not in built.precision.layer_outputs

    def test_the_gpus_it_is_for(self, graph):
        default = build(graph)
        assert default.compute_capabilities == ("8.0", "8.6", "8.9", "12.0")
        assert "and later" in default.gpu
        built = build(graph, targets=("sm80", "SM120"))
        assert built.compute_capabilities == ("8.0", "12.0")
        assert "8.0, 12.0" in built.gpu

    @pytest.mark.parametrize(
        "options",
        [{"targets": ("sm75",)}, {"workspace_gib": 0.5}, {"optimization_level": 0}, {"optimization_level": 5}],
        ids=str,
    )
    def test_options_the_real_builder_takes(self, graph, options):
        assert build(graph, **options).warnings == ()

    def test_version_compatibility_comes_with_a_word_on_what_it_is_worth(self, graph):
        (warning,) = build(graph, version_compatible=True).warnings
        assert "only under the release that built it" in warning

    def test_an_older_plan_stays_when_the_new_one_fails(self, tmp_path):
        path = write_graph(tmp_path / "skip.onnx", skip=True)
        path.with_suffix(".plan").write_text("precious")
        with pytest.raises(ExportError):
            build(path, Profile((1, 1, 1), (63, 63, 63), (64, 64, 64)))
        assert path.with_suffix(".plan").read_text() == "precious"
        assert not leftovers(tmp_path)

    def test_a_place_that_cannot_be_written(self, graph):
        graph.with_suffix(".plan").mkdir()
        with pytest.raises(OutputError, match=r"any\.plan cannot be written"):
            build(graph)

    def test_neither_torch_nor_onnx_is_imported(self, graph):
        code = (
            "import sys; from pathlib import Path; sys.modules.update(dict.fromkeys(('torch', 'onnx')));"
            "from p2p_deploy.exporter.tensorrt.builder import build_plan;"
            "from p2p_deploy.exporter.tensorrt.flavours import find_flavour;"
            "from p2p_deploy.options import BuildOptions; from p2p_deploy.spec.sidecar import Profile;"
            "options = BuildOptions(profiles=(Profile((1, 1, 1), (64, 64, 64), (64, 64, 64)),));"
            f"build_plan(Path({str(graph)!r}), Path({str(graph.with_suffix('.plan'))!r}), options, find_flavour('rtx'))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
        assert graph.with_suffix(".plan").stat().st_size > 10_000


class TestRefusals:
    """Never a plan, and one sentence."""

    def refuse(self, path, words, *profiles, **options):
        with pytest.raises(ExportError, match=words):
            build(path, *profiles, **options)
        assert_nothing_left(path)

    def test_a_graph_the_parser_refuses_is_a_sentence_with_the_node(self, tmp_path):
        shape = helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, 3, 8, 8])
        node = helper.make_node("NoSuchOperator", ["frames"], ["outputs"], "the.odd.one", domain="nowhere")
        made = helper.make_graph([node], "g", [shape], [helper.make_empty_tensor_value_info("outputs")])
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("nowhere", 1)]
        onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), tmp_path / "odd.onnx")
        self.refuse(tmp_path / "odd.onnx", r"cannot read odd\.onnx.*the\.odd\.one")

    def test_what_is_no_onnx_file(self, tmp_path):
        (tmp_path / "junk.onnx").write_bytes(b"junk")
        self.refuse(tmp_path / "junk.onnx", r"cannot read junk\.onnx: .*Failed to parse")

    def test_a_graph_of_other_inputs(self, tmp_path):
        shape = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 100])
        given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 100])
        made = helper.make_graph([helper.make_node("Tanh", ["z"], ["y"], "tanh")], "g", [shape], [given])
        opsets = [helper.make_opsetid("", 20)]
        onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), tmp_path / "z.onnx")
        self.refuse(tmp_path / "z.onnx", r"takes z \(-1, 100\) FLOAT; expected frames")

    @pytest.mark.parametrize("height", [(63, 64, 64), (64, 64, 65), (62, 63, 64)], ids=["min", "max", "opt"])
    def test_a_profile_with_sizes_the_network_fails_at(self, tmp_path, height):
        path = write_graph(tmp_path / "skip.onnx", skip=True)
        self.refuse(path, r"generator\.Concat", Profile((1, 1, 1), height, (64, 64, 64)))

    @pytest.mark.parametrize("batch", [(0, 1, 2), (4, 2, 1)])
    def test_a_profile_that_is_none(self, graph, batch):
        self.refuse(graph, "batch of a profile", Profile(batch, (64, 64, 64), (64, 64, 64)))

    def test_no_profile(self, graph):
        with pytest.raises(ExportError, match="at least one optimization profile"):
            build_plan(graph, graph.with_suffix(".plan"), BuildOptions(), find_flavour("rtx"))

    def test_a_profile_only_the_builder_refuses(self, graph, monkeypatch):
        monkeypatch.setattr(builder, "check_options", lambda options, flavour: None)
        self.refuse(graph, "refuses the profile .* MIN<=OPT<=MAX", Profile((4, 2, 1), (64, 64, 64), (64, 64, 64)))

    def test_a_target_the_builder_does_not_have(self, graph):
        self.refuse(graph, "cannot build for sm90, current; .*sm80, sm86, sm89, sm120", targets=("sm90", "current"))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"timing_cache": Path("t.cache")}, r"TensorRT for RTX .* no timing cache \(received t\.cache\)"),
            ({"hardware_compatible": "same-cc"}, "TensorRT for RTX .* same-cc.*`targets`"),
        ],
    )
    def test_options_that_do_not_suit(self, graph, options, words):
        self.refuse(graph, words, **options)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"hardware_compatible": "ampere"}, "`hardware_compatible` must be one of .*; got ampere"),
            ({"workspace_gib": 0.0}, "`workspace_gib` must be at least 0.001; got 0.0"),
            ({"workspace_gib": 1e10}, "`workspace_gib` must be at most 4096"),
            ({"workspace_gib": float("nan")}, "`workspace_gib` must be a finite number"),
            ({"workspace_gib": 1e-9}, "`workspace_gib` must be at least 0.001"),
            ({"optimization_level": 6}, "`optimization_level` must be at most 5; got 6"),
        ],
    )
    def test_options_that_no_builder_has(self, options, words):
        with pytest.raises(OptionError, match=words):
            BuildOptions(**options)


class TestPrecision:
    @pytest.mark.parametrize("name", ["rtx", "tensorrt"])
    def test_float32_is_not_rounded_to_tf32(self, name):
        rtx = find_flavour("rtx")
        trt, flavour = rtx.module, flavours.Flavour(name, rtx.module, rtx.version)
        builder = trt.Builder(log_of(trt.ILogger))
        config = builder.create_builder_config()
        assert config.get_flag(trt.BuilderFlag.TF32)  # else there would be nothing to clear
        configure(config, BuildOptions(profiles=(ANY,)), flavour)
        assert not config.get_flag(trt.BuilderFlag.TF32)

    def test_counts_the_multiply_accumulates_of_the_first_profiles_opt_shape(self, tmp_path):
        path = write_graph(tmp_path / "mixed.onnx", kinds=("half", "float"))
        report = build(path, ANY, ONE).precision
        places = 2 * 32 * 48  # of the halved picture, for both layers
        assert report.macs == sum(MACS_OF_A_KERNEL) * places
        assert report.half_macs == MACS_OF_A_KERNEL[0] * places
        assert report.half_share == 0.5
        assert report.fp32_convolutions == ("generator.ups.0.conv",)
        assert str(report) == "50 % of the multiply-accumulates in half (1 of 2 convolutions and matrix products)"

    def test_bfloat16_is_a_half(self, tmp_path):
        report = build(write_graph(tmp_path / "bf.onnx", kinds=("bf16", "half"))).precision
        assert report.half_share == 1
        assert report.layer_outputs["BF16"] > 0

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_of_an_exported_generator(self, tmp_path, precision):
        spec = unet_spec().with_changes(fixed_size=(64, 64))
        generator = varied_generator(spec)
        write_onnx(generator, spec, tmp_path / "unet.onnx", precision)
        report = build(tmp_path / "unet.onnx", Profile((1, 3, 4), (64, 64, 64), (64, 64, 64))).precision
        assert report.macs == sum(multiply_accumulates(generator, torch.zeros(3, 3, 64, 64)).values())
        assert report.convolutions == 10
        if precision == "fp16":
            assert report.half_convolutions == 10
            require_half(report)
            assert report.layer_outputs["HALF"] > report.layer_outputs["FLOAT"] > 0
            assert report.layer_outputs["UINT8"] == 1
        else:
            assert report.half_share == report.half_convolutions == 0
            with pytest.raises(ExportError, match=r"0 of 10 convolutions.*generator\.downs\.0\.conv"):
                require_half(report)

    def test_of_a_generator_for_any_size(self, tmp_path):
        spec = unet_spec().with_changes(fixed_size=None)
        generator = varied_generator(spec)
        write_onnx(generator, spec, tmp_path / "unet.onnx", "fp16")
        report = build(tmp_path / "unet.onnx", Profile((1, 1, 2), (32, 64, 96), (32, 96, 128))).precision
        assert report.macs == sum(multiply_accumulates(generator, torch.zeros(1, 3, 64, 96)).values())
        assert report.half_share == 1
        with pytest.raises(ExportError, match="multiples of the model's size multiple"):
            build(tmp_path / "unet.onnx", Profile((1, 1, 2), (32, 64, 100), (32, 96, 128)))

    def test_the_bar_is_work_and_not_layers(self):
        report = PrecisionReport(10, 9, ("the.big.one",), 1000, 899, {})
        with pytest.raises(ExportError, match=r"only 89 % .*\(9 of 10 .*expected at least 90%.*the\.big\.one"):
            require_half(report)
        require_half(report, minimum=0.8)
        assert report.to_dict()["half_share"] == 0.899
        assert report.to_dict()["fp32_convolutions"] == ["the.big.one"]

    def test_a_network_without_convolutions_has_nothing_in_float32(self):
        require_half(PrecisionReport(0, 0, (), 0, 0, {}))


class TestProgress:
    def test_phases_arrive_with_their_steps(self, graph):
        steps = []
        build(graph, on_progress=lambda *step: steps.append(step))
        assert len({phase for phase, _, _ in steps}) > 1
        assert all(0 <= done <= total for _, done, total in steps)
        assert any(done == total for _, done, total in steps)

    @pytest.mark.parametrize("at", [1, 20])
    def test_a_callback_that_is_interrupted_stops_the_build_and_leaves_nothing(self, graph, capfd, at):
        steps = []

        def interrupted(*step):
            steps.append(step)
            if len(steps) == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(graph, on_progress=interrupted)
        assert len(steps) == at
        assert_nothing_left(graph)
        assert capfd.readouterr().err == ""

    def test_other_exceptions_too(self, graph):
        with pytest.raises(ZeroDivisionError):
            build(graph, on_progress=lambda phase, done, total: 1 // (done - done))
        assert_nothing_left(graph)

    def test_ctrl_c_stops_the_build(self, graph, capfd):
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            build(graph, on_progress=lambda *step: os.kill(os.getpid(), signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is before
        assert_nothing_left(graph)
        assert capfd.readouterr().err == ""

    def test_builds_off_the_main_thread(self, graph):
        thread = threading.Thread(target=build, args=(graph,))
        thread.start()
        thread.join(60)
        assert graph.with_suffix(".plan").is_file()

    def test_the_next_build_is_not_stopped(self, graph):
        with pytest.raises(ZeroDivisionError):
            build(graph, on_progress=lambda *step: 1 // 0)
        assert build(graph).warnings == ()
