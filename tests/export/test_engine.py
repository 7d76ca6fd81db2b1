"""Plans from the real builder: TensorRT for RTX needs no GPU. ``tensorrt`` is played by a stand-in around it."""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fake_gpu import FakeCuda, Gpu
from onnx import TensorProto, helper
from support import ROOT, leftovers, unet_spec, varied_generator

from p2p_deploy.backends import cuda
from p2p_deploy.backends.trt_log import log_of
from p2p_deploy.errors import DeviceError, ExportError, MissingDependency, OutputError
from p2p_deploy.export import engine, flavours, timing
from p2p_deploy.export.engine import build_plan
from p2p_deploy.export.flavours import find_flavour
from p2p_deploy.export.layers import PrecisionReport, require_half
from p2p_deploy.export.onnx import write_onnx
from p2p_deploy.export.options import BuildOptions, configure
from p2p_deploy.precision import multiply_accumulates
from p2p_deploy.sidecar import Profile

ELEMENT = {"half": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "float": TensorProto.FLOAT}
ANY = Profile((1, 2, 4), (64, 64, 128), (64, 96, 128))
ONE = Profile((1, 1, 1), (64, 64, 64), (64, 64, 64))
MACS_OF_A_KERNEL = (3 * 8 * 16, 3 * 8 * 16)


def write_graph(path, *, kinds=("half", "half"), size=("height", "width"), batch="batch", uint8=True, skip=False):
    """A convolution that halves the picture and a deconvolution that doubles it, each in its element type.

    With ``skip`` the result is joined to the input, as in a U-Net, which works for even heights and widths only.
    """
    shape = [batch, *size, 3] if uint8 else [batch, 3, *size]
    nodes = [helper.make_node("Cast", ["frames"], ["floats"], "Cast", to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Transpose", ["floats"], ["x"], "Transpose", perm=[0, 3, 1, 2] if uint8 else range(4))]
    weights, random = [], np.random.default_rng(0)
    edges = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    names = ("Conv", "generator.downs.0.conv"), ("ConvTranspose", "generator.ups.0.conv")
    for index, (kind, (operator, name), value) in enumerate(zip(kinds, names, ("x", names[0][1]), strict=True)):
        values = random.normal(0, 0.1, 8 * 3 * 4 * 4)
        weights.append(helper.make_tensor(f"weight{index}", ELEMENT[kind], (8, 3, 4, 4), values))
        nodes.append(helper.make_node("Cast", [value], [f"cast{index}"], f"Cast_{index}", to=ELEMENT[kind]))
        nodes.append(helper.make_node(operator, [f"cast{index}", f"weight{index}"], [name], name, **edges))
    nodes.append(helper.make_node("Cast", [names[1][1]], ["back"], "Cast_back", to=TensorProto.FLOAT))
    if skip:
        nodes.append(helper.make_node("Concat", ["x", "back"], ["joined"], "generator.Concat", axis=1))
    last = "joined" if skip else "back"
    nodes.append(helper.make_node("Transpose", [last], ["levels"], "Out", perm=[0, 2, 3, 1] if uint8 else range(4)))
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    nodes.append(helper.make_node("Cast", ["levels"], ["outputs"], "Cast_out", to=kind))
    given = helper.make_tensor_value_info("outputs", kind, [None] * 4)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("frames", kind, shape)], [given], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def graph(tmp_path):
    """Any batch, height and width, all in half."""
    return write_graph(tmp_path / "any.onnx")


def build(path, *profiles, on_progress=lambda *step: None, flavour=None, **options):
    """Build beside the ONNX file."""
    chosen = BuildOptions(profiles or (ANY,), **options)
    return build_plan(path, path.with_suffix(".plan"), chosen, flavour or find_flavour("rtx"), on_progress)


def assert_nothing_left(onnx_path):
    assert [path.name for path in onnx_path.parent.iterdir()] == [onnx_path.name]


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
            "from p2p_deploy.export.engine import build_plan; from p2p_deploy.export.flavours import find_flavour;"
            "from p2p_deploy.export.options import BuildOptions; from p2p_deploy.sidecar import Profile;"
            "options = BuildOptions((Profile((1, 1, 1), (64, 64, 64), (64, 64, 64)),));"
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
        monkeypatch.setattr(engine, "check_options", lambda options, flavour: None)
        self.refuse(graph, "refuses the profile .* MIN<=OPT<=MAX", Profile((4, 2, 1), (64, 64, 64), (64, 64, 64)))

    def test_a_target_the_builder_does_not_have(self, graph):
        self.refuse(graph, "cannot build for sm90, current; .*sm80, sm86, sm89, sm120", targets=("sm90", "current"))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"timing_cache": Path("t.cache")}, r"TensorRT for RTX .* no timing cache \(received t\.cache\)"),
            ({"hardware_compatible": "same-cc"}, "TensorRT for RTX .* same-cc.*--targets"),
            ({"hardware_compatible": "ampere"}, "ampere"),
            ({"workspace_gib": 0.0}, "workspace is 0.0 GiB"),
            ({"workspace_gib": 1e10}, "workspace is 10000000000.0 GiB; expected more than 0 and at most 4096"),
            ({"workspace_gib": float("nan")}, "workspace is nan GiB"),
            ({"workspace_gib": 1e-9}, "cannot build a plan"),
            ({"optimization_level": 6}, "level is 6; expected 0 to 5"),
        ],
    )
    def test_options_that_do_not_suit(self, graph, options, words):
        self.refuse(graph, words, **options)


class TestPrecision:
    @pytest.mark.parametrize("name", ["rtx", "tensorrt"])
    def test_float32_is_not_rounded_to_tf32(self, name):
        rtx = find_flavour("rtx")
        trt, flavour = rtx.module, flavours.Flavour(name, rtx.module, rtx.version)
        builder = trt.Builder(log_of(trt.ILogger))
        config = builder.create_builder_config()
        assert config.get_flag(trt.BuilderFlag.TF32)  # else there would be nothing to clear
        configure(config, BuildOptions((ANY,)), flavour)
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


class Delegate:
    """Passes on what it does not have itself."""

    def __init__(self, real):
        object.__setattr__(self, "real", real)

    def __getattr__(self, name):
        return getattr(self.real, name)


class StandIn(Delegate):
    """``tensorrt`` as this package uses it, over the real builder of TensorRT for RTX.

    What RTX has not is recorded in ``calls``: timing caches, whose bytes are ``seen``, and hardware compatibility.
    """

    def __init__(self):
        super().__init__(find_flavour("rtx").module)
        object.__setattr__(self, "calls", [])

    def Builder(self, log):  # noqa: N802
        builder = Delegate(self.real.Builder(log))
        object.__setattr__(builder, "create_builder_config", lambda: Config(builder.real, self.calls, log))
        build = builder.real.build_serialized_network
        object.__setattr__(builder, "build_serialized_network", lambda network, config: build(network, config.real))
        return builder


class Config(Delegate):
    def __init__(self, builder, calls, log):
        super().__init__(builder.create_builder_config())
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "log", log)

    def __setattr__(self, name, value):
        if name == "hardware_compatibility_level":
            self.calls.append((name, value.name))
        else:
            setattr(self.real, name, value)

    def set_flag(self, flag):
        self.calls.append(("set_flag", flag.name))

    def create_timing_cache(self, serialized):
        self.calls.append(("create_timing_cache", bytes(serialized)))
        if serialized not in (b"", b"learnt"):  # as TensorRT does: a warning, and an empty cache
            self.log.log(self.log.Severity.WARNING, "Failed to deserialize timing cache.")
        return None if serialized == b"none" else Cache()

    def set_timing_cache(self, cache, ignore_mismatch):
        self.calls.append(("set_timing_cache", ignore_mismatch))
        object.__setattr__(self, "cache", cache)
        return True

    def get_timing_cache(self):
        return self.cache


class Cache:
    def serialize(self):
        return b"learnt"


@pytest.fixture
def gpu(monkeypatch):
    """Two GPUs, an L4 and an A10, as CUDA and the driver show them."""
    monkeypatch.setattr(cuda, "device_name", lambda index: ("NVIDIA L4 (8.9)", "NVIDIA A10 (8.6)")[index])
    monkeypatch.setattr(cuda, "compute_capability", lambda index: ("8.9", "8.6")[index])
    pretended = Gpu(count=2)
    monkeypatch.setattr(flavours, "import_cuda", lambda: FakeCuda(pretended))
    return pretended


@pytest.fixture
def tensorrt(monkeypatch, tmp_path, gpu):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user cache"))
    return flavours.Flavour("tensorrt", StandIn(), "11.4.0.106")


class TestTensorRT:
    def read(self, flavour):
        return [value for name, value in flavour.module.calls if name == "create_timing_cache"]

    def test_is_for_the_gpu_it_is_built_on(self, graph, tensorrt):
        built = build(graph, flavour=tensorrt)
        assert (built.gpu, built.compute_capabilities) == ("NVIDIA L4 (8.9)", ("8.9",))

    def test_is_built_on_the_gpu_that_was_asked_for(self, graph, tensorrt, gpu, tmp_path):
        seen = set()
        built = build(graph, flavour=tensorrt, device=1, on_progress=lambda *step: seen.add(gpu.current.device))
        assert (built.gpu, built.compute_capabilities) == ("NVIDIA A10 (8.6)", ("8.6",))
        assert seen == {1}
        assert gpu.current.device == 0  # as it was before
        (kept,) = (path for path in (tmp_path / "user cache").rglob("*") if path.is_file())
        assert "NVIDIA-A10" in kept.name

    def test_a_gpu_that_is_not_there_builds_nothing(self, graph, tensorrt):
        with pytest.raises(DeviceError, match="cuda:2 cannot be used"):
            build(graph, flavour=tensorrt, device=2)
        assert_nothing_left(graph)

    def test_a_user_without_a_home_has_no_cache_and_gets_a_plan(self, graph, tensorrt, monkeypatch):
        def homeless():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", homeless)
        assert build(graph, flavour=tensorrt).warnings == ()
        assert self.read(tensorrt) == []

    def test_timings_are_kept_and_handed_in_again(self, graph, tensorrt, tmp_path):
        assert build(graph, flavour=tensorrt).warnings == ()
        (kept,) = (path for path in (tmp_path / "user cache").rglob("*") if path.is_file())
        assert kept.relative_to(tmp_path / "user cache") == Path(
            "p2p-deploy/timing/tensorrt-11.4.0.106-NVIDIA-L4-8.9.cache"
        )
        assert kept.read_bytes() == b"learnt"
        assert build(graph, flavour=tensorrt).warnings == ()
        assert self.read(tensorrt) == [b"", b"learnt"]
        assert ("set_timing_cache", True) not in tensorrt.module.calls

    def test_another_file_can_be_named(self, graph, tensorrt, tmp_path):
        (tmp_path / "mine.cache").write_bytes(b"learnt")
        build(graph, flavour=tensorrt, timing_cache=tmp_path / "mine.cache")
        assert self.read(tensorrt) == [b"learnt"]
        assert not (tmp_path / "user cache").exists()

    @pytest.mark.parametrize("content", [b"garbage", b"none"])
    def test_a_damaged_one_is_ignored_and_replaced(self, graph, tensorrt, tmp_path, content):
        (tmp_path / "bad.cache").write_bytes(content)
        (warning,) = build(graph, flavour=tensorrt, timing_cache=tmp_path / "bad.cache").warnings
        assert "bad.cache is damaged" in warning
        assert self.read(tensorrt) == [content, b""]
        assert (tmp_path / "bad.cache").read_bytes() == b"learnt"

    def test_one_that_can_be_neither_read_nor_written_costs_no_plan(self, graph, tensorrt, tmp_path):
        (tmp_path / "folder").mkdir()
        warnings = build(graph, flavour=tensorrt, timing_cache=tmp_path / "folder").warnings
        assert [("cannot be read" in text, "was not kept" in text) for text in warnings] == [(1, 0), (0, 1)]
        assert graph.with_suffix(".plan").is_file()

    def test_relative_cache_homes_do_not_count(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
        assert timing.default_path("tensorrt", "11", "NVIDIA L4 (8.9)").parent == tmp_path / ".cache/p2p-deploy/timing"

    @pytest.mark.parametrize(
        ("choice", "level"), [("ampere-plus", "AMPERE_PLUS"), ("same-cc", "SAME_COMPUTE_CAPABILITY")]
    )
    def test_hardware_compatibility(self, graph, tensorrt, choice, level):
        build(graph, flavour=tensorrt, hardware_compatible=choice)
        assert ("hardware_compatibility_level", level) in tensorrt.module.calls

    def test_version_compatible_plans_carry_their_runtime(self, graph, tensorrt):
        build(graph, flavour=tensorrt, version_compatible=True)
        flags = [value for name, value in tensorrt.module.calls if name == "set_flag"]
        assert flags == ["VERSION_COMPATIBLE"]

    def test_it_takes_no_targets(self, graph, tensorrt):
        with pytest.raises(ExportError, match=r"TensorRT 11.*no targets \(received sm80\)"):
            build(graph, flavour=tensorrt, targets=("sm80",))
        assert_nothing_left(graph)


@pytest.mark.gpu
class TestOnAGpu:
    def test_tensorrt_itself(self, graph, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user cache"))
        if not cuda.device_count() or flavours._import_flavour("tensorrt") is None:
            pytest.skip("no GPU, or no tensorrt")
        for options in ({}, {}, {"hardware_compatible": "ampere-plus"}, {"hardware_compatible": "same-cc"}):
            built = build(graph, ONE, ANY, flavour=find_flavour("tensorrt"), **options)
            assert built.precision.half_share == 1
            assert f"({built.compute_capabilities[0]})" in built.gpu
            assert not [warning for warning in built.warnings if "timing cache" in warning]
        (kept,) = (path for path in (tmp_path / "user cache").rglob("*") if path.is_file())
        assert kept.stat().st_size


class TestFlavours:
    def missing(self, monkeypatch, *present):
        monkeypatch.setattr(flavours, "_import_flavour", lambda name: Fake(name) if name in present else None)

    def test_with_neither_one_sentence_names_both(self, monkeypatch):
        self.missing(monkeypatch)
        with pytest.raises(MissingDependency, match=r"p2p-deploy\[trt\]'.*p2p-deploy\[trt-rtx\]'"):
            find_flavour()

    @pytest.mark.parametrize(("choice", "extra"), [("tensorrt", "trt"), ("rtx", "trt-rtx")])
    def test_the_one_that_was_asked_for_is_named(self, monkeypatch, choice, extra):
        self.missing(monkeypatch)
        with pytest.raises(MissingDependency, match=rf"p2p-deploy\[{extra}\]'$"):
            find_flavour(choice)

    def test_tensorrt_comes_first_where_there_is_a_gpu(self, monkeypatch):
        self.missing(monkeypatch, "tensorrt", "rtx")
        monkeypatch.setattr(cuda, "device_count", lambda: 1)
        assert find_flavour().name == "tensorrt"
        monkeypatch.setattr(cuda, "device_count", lambda: 0)
        assert find_flavour().name == "rtx"

    def test_tensorrt_without_a_gpu_says_what_builds_without_one(self, monkeypatch):
        self.missing(monkeypatch, "tensorrt")
        monkeypatch.setattr(cuda, "device_count", lambda: 0)
        with pytest.raises(DeviceError, match=r"p2p-deploy\[trt-rtx\]'"):
            find_flavour()


class Fake:
    """A TensorRT module as far as choosing one looks at it."""

    def __init__(self, name):
        self.name = name
        self.__version__ = "0"


# The classes behind the names that hold TensorRT's objects in the sources of the builder.
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "shapes": "IOptimizationProfile",
    "cache": "ITimingCache",
    "layer": "IConvolutionLayer",
    "item": "ITensor",
}
SOURCES = ("engine", "layers", "options", "progress", "timing")


def used_of_trt():
    """``BuilderFlag.VERSION_COMPATIBLE``, ``IBuilderConfig.set_flag`` and so on: what the sources use of TensorRT."""
    used = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse((ROOT / "p2p_deploy" / "export" / f"{source}.py").read_text())):
            names = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else ()
            if not all(name.isidentifier() for name in names):
                continue  # of what a call gave; the objects themselves have names
            if names and names[0] in CLASSES:
                used.add(f"{CLASSES[names[0]]}.{names[1]}")
            elif names and names[0] == "trt":
                used.add(".".join(names[1:]))
    return {name for name in used if not name.endswith(".__class__")}


class TestConformance:
    def test_everything_that_is_used_exists(self):
        used, module = used_of_trt(), find_flavour("rtx").module
        assert {"BuilderFlag.TF32", "IBuilderConfig.clear_flag"} <= used
        assert {name.split(".")[0] for name in used} >= {*CLASSES.values(), "BuilderFlag", "MemoryPoolType", "DataType"}
        for name in used:
            value = module
            for part in name.split("."):
                assert hasattr(value, part), name
                value = getattr(value, part)

    def test_what_is_subclassed_has_these_methods_and_parameters(self):
        """Overridden by position: the bindings call them with C++ arguments."""
        monitor = find_flavour("rtx").module.IProgressMonitor
        for method, parameters in {
            "phase_start": ("phase_name", "parent_phase", "num_steps"),
            "step_complete": ("phase_name", "step"),
            "phase_finish": ("phase_name",),
        }.items():
            assert all(f"{name}:" in getattr(monitor, method).__doc__ for name in parameters)

    def test_enums_of_tensorrts_other_packages_agree(self):
        """Its lean runtime has no builder, but the same enums, wherever it is installed."""
        if importlib.util.find_spec("tensorrt_lean_bindings") is None:
            return
        lean = importlib.import_module("tensorrt_lean_bindings")
        for kind, _, member in (name.partition(".") for name in used_of_trt()):
            if hasattr(lean, kind) and member:
                assert hasattr(getattr(lean, kind), member), f"{kind}.{member}"
