"""What building for TensorRT itself takes, played by a stand-in around the builder of TensorRT for RTX."""

import ast
import importlib.util
from pathlib import Path

import pytest
from helpers.fake_gpu import FakeCuda, Gpu
from helpers.graphs import ANY, ONE, assert_nothing_left, build
from helpers.support import ROOT

from p2p_deploy.backends import cuda
from p2p_deploy.errors import DeviceError, ExportError, MissingDependency
from p2p_deploy.exporter.tensorrt import flavours, timing_cache
from p2p_deploy.exporter.tensorrt.flavours import find_flavour


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
        assert (
            timing_cache.default_path("tensorrt", "11", "NVIDIA L4 (8.9)").parent
            == tmp_path / ".cache/p2p-deploy/timing"
        )

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
SOURCES = ("builder", "layers", "config", "progress", "timing_cache")


def used_of_trt():
    """``BuilderFlag.VERSION_COMPATIBLE``, ``IBuilderConfig.set_flag`` and so on: what the sources use of TensorRT."""
    used = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse((ROOT / "p2p_deploy/exporter/tensorrt" / f"{source}.py").read_text())):
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
