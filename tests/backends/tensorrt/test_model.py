"""What is said of a plan before anything of TensorRT is touched: each case one refusal, naming the way on."""

import errno
import json
import platform
import sys
from pathlib import Path

import pytest
from helpers.fake_gpu import Gpu
from helpers.fake_tensorrt import FakeTensorRT
from helpers.plans import DATA, VERSION, pretend_gpu, write_plan

from p2p_deploy.backends import cuda, load
from p2p_deploy.backends.tensorrt import model, preflight
from p2p_deploy.errors import DeviceError, MissingDependency, ModelFileError, StalePlan
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec.sidecar import read_sidecar, sidecar_path


@pytest.fixture
def plan(tmp_path):
    return write_plan(tmp_path)


@pytest.fixture
def gpu(monkeypatch):
    """A machine whose driver shows a GPU; using TensorRT beyond its version would fail the test."""
    pretend_gpu(monkeypatch)
    pretended = Gpu()
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", FakeTensorRT(pretended, VERSION))
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(pretended, "11.4.0.106"))
    yield pretended
    assert not pretended.calls


def check(plan: Path, **options):
    return preflight.check_plan(plan, model.LoadOptions(**options))


def enterprise(tmp_path, **changes) -> Path:
    """A plan of the flavour ``tensorrt``, built by 11.3.1.20."""
    return write_plan(tmp_path, flavour="tensorrt", flavour_version="11.3.1.20", **changes)


def test_a_plan_that_fits_passes(plan, gpu):
    checked = check(plan)
    assert (checked.data, checked.device, checked.trt.__version__) == (DATA, 0, VERSION)


def test_without_a_gpu_the_onnx_file_beside_it_is_named(plan, monkeypatch):
    monkeypatch.setattr(cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU; none is visible.*p2p run .*small\.onnx"):
        load(plan)


def test_the_cpu_cannot_run_a_plan(plan):
    with pytest.raises(DeviceError, match=r"not on the CPU.*small\.onnx"):
        load(plan, LoadOptions(device="cpu"))


def test_without_an_onnx_file_beside_it_the_way_to_one_is_named(plan):
    for path in plan.parent.glob("*.onnx"):
        path.unlink()
    with pytest.raises(DeviceError, match="p2p export CKPT writes it"):
        load(plan, LoadOptions(device="cpu"))


def test_an_onnx_file_of_another_checkpoint_is_not_offered(plan):
    plan.with_suffix(".onnx").write_bytes(b"of another checkpoint")
    with pytest.raises(DeviceError, match=r"small\.fp16\.onnx beside it is the same network"):
        load(plan, LoadOptions(device="cpu"))


def test_a_gpu_beyond_the_last_is_named_with_those_there_are(plan, monkeypatch):
    pretend_gpu(monkeypatch, count=2)
    with pytest.raises(DeviceError, match=r"cuda:7 was asked for, but the GPUs here are cuda:0, cuda:1"):
        load(plan, LoadOptions(device="cuda:7"))


def test_without_the_runtime_the_extra_is_named(plan, gpu, monkeypatch):
    monkeypatch.setitem(preflight.RUNTIMES, "rtx", (("no_such_module",), "trt-rtx"))
    with pytest.raises(MissingDependency, match=r"rtx flavour.*p2p-deploy\[trt-rtx\]"):
        load(plan)


def test_libraries_that_do_not_load_count_as_missing(plan, gpu, monkeypatch):
    def broken(name):
        raise OSError("libtensorrt_rtx.so.1: cannot open shared object file")

    monkeypatch.setattr(preflight.importlib, "import_module", broken)
    with pytest.raises(MissingDependency, match=r"p2p-deploy\[trt-rtx\]"):
        check(plan)


def test_an_altered_plan_is_refused(plan, gpu):
    plan.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(StalePlan, match=r"SHA-256 differs.*rebuild=True"):
        load(plan)


def test_rtx_wants_exactly_the_version_that_built(tmp_path, gpu):
    plan = write_plan(tmp_path, flavour_version="1.7.0.99", version_compatible=True)
    with pytest.raises(StalePlan, match=rf"for RTX exactly 1\.7\.0\.99; installed here is {VERSION}.*rebuild=True"):
        check(plan, trust_plan=True)


def test_tensorrt_wants_exactly_the_version_that_built(tmp_path, gpu):
    with pytest.raises(StalePlan, match=r"exactly 11\.3\.1\.20; installed here is 11\.4\.0\.106.*rebuild=True"):
        check(enterprise(tmp_path))


@pytest.mark.parametrize("built", ["11.3.1.20", "11.4.0.106"])
def test_a_version_compatible_plan_runs_under_later_versions(tmp_path, gpu, built):
    plan = write_plan(tmp_path, flavour="tensorrt", flavour_version=built, version_compatible=True)
    assert check(plan, trust_plan=True).trt.__version__ == "11.4.0.106"


@pytest.mark.parametrize("built", ["11.5.0.1", "10.16.0.3"])
def test_a_version_compatible_plan_does_not_run_under_earlier_versions_or_another_major(tmp_path, gpu, built):
    plan = write_plan(tmp_path, flavour="tensorrt", flavour_version=built, version_compatible=True)
    with pytest.raises(StalePlan, match=rf"{built} or a later {built[:2]}\.x; installed here is 11\.4\.0\.106"):
        check(plan, trust_plan=True)


def test_a_version_compatible_plan_takes_the_lean_runtime_where_there_is_no_other(tmp_path, gpu, monkeypatch):
    lean = FakeTensorRT(gpu, "11.4.0.107")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", lean)
    assert check(enterprise(tmp_path, version_compatible=True), trust_plan=True).trt is lean
    with pytest.raises(MissingDependency, match=r"tensorrt flavour.*p2p-deploy\[trt\]"):
        check(enterprise(tmp_path))


def test_a_plan_for_rtx_carries_no_code_and_needs_no_trust(tmp_path, gpu):
    sidecar = check(write_plan(tmp_path, version_compatible=True)).sidecar
    assert not sidecar.carries_code


def test_code_in_a_plan_runs_only_when_the_plan_is_trusted(tmp_path, gpu):
    with pytest.raises(ModelFileError, match=r"carries code.*trust_plan=True") as refusal:
        check(enterprise(tmp_path, version_compatible=True))
    assert not isinstance(refusal.value, StalePlan)


def test_a_plan_of_another_system_is_refused(tmp_path, gpu, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    fitting = {"flavour": "tensorrt", "flavour_version": "11.4.0.106"}
    with pytest.raises(StalePlan, match=r"was built on windows-amd64; this is linux-x86_64.*rebuild=True"):
        check(write_plan(tmp_path, platform="windows-amd64", **fitting))
    assert check(write_plan(tmp_path, platform="linux-amd64", **fitting))


def test_an_rtx_plan_is_tied_to_the_machine_and_not_to_the_system(tmp_path, gpu, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert check(write_plan(tmp_path, platform="windows-amd64"))
    with pytest.raises(StalePlan, match=r"was built on linux-aarch64; this is linux-x86_64"):
        check(write_plan(tmp_path, platform="linux-aarch64"))


@pytest.mark.parametrize("hardware", ["none", "same-cc"])
def test_a_gpu_of_another_compute_capability_is_refused(tmp_path, gpu, monkeypatch, hardware):
    pretend_gpu(monkeypatch, capability="9.0")
    plan = write_plan(tmp_path, hardware_compatible=hardware)
    with pytest.raises(StalePlan, match=r"capability 8\.6 or 8\.9; cuda:0 is NVIDIA Pretended \(9\.0\).*rebuild=True"):
        check(plan)


def test_ampere_plus_runs_from_ampere_on(tmp_path, gpu, monkeypatch):
    plan = write_plan(tmp_path, hardware_compatible="ampere-plus", compute_capabilities=("8.9",))
    for capability in ("8.0", "12.0"):
        pretend_gpu(monkeypatch, capability=capability)
        assert check(plan)
    pretend_gpu(monkeypatch, capability="7.5")
    with pytest.raises(StalePlan, match=r"capability 8\.0 or higher; cuda:0 is .*7\.5"):
        check(plan)


def test_a_plan_for_the_builders_default_targets_runs_on_later_gpus_too(tmp_path, gpu, monkeypatch):
    plan = write_plan(tmp_path, targets=())
    for capability in ("8.0", "9.0", "13.7"):
        pretend_gpu(monkeypatch, capability=capability)
        assert check(plan)
    pretend_gpu(monkeypatch, capability="7.5")
    with pytest.raises(StalePlan, match=r"capability 8\.0 or higher; cuda:0 is .*7\.5"):
        check(plan)


def test_without_the_file_it_was_built_from_that_file_is_named_first(plan, gpu):
    (plan.parent / "small.fp16.onnx").unlink()
    plan.write_bytes(b"cut short")
    with pytest.raises(
        StalePlan, match=r"Copy small\.fp16\.onnx.* beside it.*p2p run .*small\.plan IN OUT `rebuild=True`"
    ):
        check(plan)


def test_without_cuda_bindings_the_package_is_named(plan, gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingDependency, match="pip install cuda-bindings"):
        load(plan)


def test_a_driver_that_cuda_cannot_use_is_named_before_tensorrt_is_touched(plan, gpu):
    """The real CUDA runtime, on a machine without a driver: the lean runtime would end the process here."""
    if _real_device_count():
        return  # on a GPU there is nothing to refuse, and tests marked gpu run the plan
    with pytest.raises(DeviceError, match=r"cuda:0 cannot be used.*cudaError\w+ \(.*Update the NVIDIA driver"):
        load(plan)


def _real_device_count() -> int:
    from cuda.bindings import runtime

    return runtime.cudaGetDeviceCount()[1] or 0


def test_a_missing_sidecar_is_named(plan):
    sidecar_path(plan).unlink()
    with pytest.raises(ModelFileError, match=r"no sidecar small\.plan\.json.*export both again, with `trt=True`"):
        load(plan)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "1.0"}', "\xff"])
def test_a_broken_sidecar_is_refused(plan, text):
    sidecar_path(plan).write_text(text, encoding="latin-1")
    with pytest.raises(ModelFileError, match="not the sidecar of a plan"):
        load(plan)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profiles", [[1, 4]]),
        ("profiles", []),
        ("profiles", [{"batch": ["1", "4", "8"], "height": [64, 64, 64], "width": [64, 64, 64]}]),
        ("precision", "half"),
        ("quality", []),
        ("flavour", {"name": "rtx"}),
        ("flavour", "quantum"),
        ("hardware_compatible", "all"),
        ("version_compatible", "no"),
        ("compute_capabilities", "8.9"),
        ("source_onnx", None),
        ("spec", "unet"),
        *(
            ("source_onnx", name)
            for name in ("", ".", "..", "../x.onnx", "/x.onnx", "x/", "a\0b", "x" * 300, "é" * 128)
        ),
        *(
            ("flavour_version", text)
            for text in ("", "1", "1." + "9" * 5000, "1.2.3.4.5", "1.7.1.116\n", "1..2", "١.٢")
        ),
        *((key, text) for key in ("plan_sha256", "source_onnx_sha256") for text in ("", "0" * 63, "g" * 64, 5)),
    ],
)
def test_a_sidecar_with_a_value_of_another_type_is_refused(plan, key, value):
    data = json.loads(sidecar_path(plan).read_text())
    sidecar_path(plan).write_text(json.dumps({**data, key: value}))
    with pytest.raises(ModelFileError, match="not the sidecar of a plan"):
        read_sidecar(plan)


@pytest.mark.parametrize(("key", "values"), [("source_sha256", ("", 5, ["a"], "c0ffee")), ("created_with", (None, {}))])
def test_a_spec_with_a_value_of_another_type_is_refused(plan, key, values):
    data = json.loads(sidecar_path(plan).read_text())
    for value in values:
        sidecar_path(plan).write_text(json.dumps({**data, "spec": {**data["spec"], key: value}}))
        with pytest.raises(ModelFileError, match=f"not the sidecar of a plan .*{key} must be"):
            read_sidecar(plan)


@pytest.mark.parametrize("version", ["1.7", "11.4.0.106", "10.14.1.48.post1"])
def test_versions_as_builders_have_them_are_read(tmp_path, version):
    assert read_sidecar(write_plan(tmp_path, flavour_version=version)).flavour_version == version


def test_a_name_that_is_too_long_for_the_disk_is_no_file(plan, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    sidecar = read_sidecar(plan)
    monkeypatch.setattr(Path, "is_file", refuse)
    assert preflight.rebuild(plan, sidecar).startswith("Copy small.fp16.onnx, from which it was built, beside it")
    assert "is not beside it" in preflight.run_instead(plan, sidecar)


def test_an_onnx_file_that_cannot_be_read_is_not_offered(plan, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied")

    sidecar = read_sidecar(plan)
    monkeypatch.setattr(Path, "open", refuse)
    assert "p2p export CKPT writes it" in preflight.run_instead(plan, sidecar)


def test_a_sidecar_of_a_later_schema_is_refused(plan):
    data = json.loads(sidecar_path(plan).read_text())
    sidecar_path(plan).write_text(json.dumps({**data, "schema": "2.0"}))
    with pytest.raises(ModelFileError, match=r"schema '2.0'"):
        read_sidecar(plan)
