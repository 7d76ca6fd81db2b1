"""What a plan is built again for, and when it is not; the builder is the real one of TensorRT for RTX."""

import shutil
from dataclasses import replace

import pytest
from helpers.plans import pretend_gpu

from p2p_deploy.backends import cuda
from p2p_deploy.backends.tensorrt.preflight import check_plan
from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.tensorrt import rebuild
from p2p_deploy.exporter.tensorrt.layers import PrecisionReport
from p2p_deploy.exporter.tensorrt.rebuild import rebuild_plan
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec.sidecar import read_sidecar


@pytest.fixture
def plan(exported, tmp_path):
    for path in (exported.plan.plan, exported.plan.sidecar, exported.plan.onnx):
        shutil.copy(path, tmp_path)
    return tmp_path / exported.plan.plan.name


@pytest.fixture
def builder(monkeypatch):
    """The options of each build. The real builder builds, and half of the work is said to be in half."""
    real, asked = rebuild.build_plan, []

    def build(source, target, options, flavour):
        asked.append(options)
        built = real(source, target, replace(options, device=0), flavour)
        return replace(built, precision=PrecisionReport(2, 1, ("ups.0",), 1000, 500, {}))

    monkeypatch.setattr(rebuild, "build_plan", build)
    return asked


def altered(plan, **precision):
    """The plan with other figures of precision in its sidecar."""
    old = read_sidecar(plan)
    replace(old, precision={**old.precision, **precision}).save(plan)


def test_a_plan_that_was_exported_by_force_is_built_again(plan, builder):
    altered(plan, half_share=0.5)
    assert rebuild_plan(plan).precision["half_share"] == 0.5


@pytest.mark.parametrize("figures", [{"half_share": 0.9}, {"half_share": 1}, {"half_share": "all"}])
def test_a_plan_that_was_in_half_is_replaced_by_no_other(plan, builder, figures):
    altered(plan, **figures)
    before = plan.read_bytes()
    with pytest.raises(ExportError, match="A plan in half was asked for, but only 50 %"):
        rebuild_plan(plan)
    assert plan.read_bytes() == before


def test_a_plan_of_a_gpu_that_the_builder_does_not_know_gets_the_default_targets(plan, monkeypatch):
    replace(read_sidecar(plan), targets=("sm89",), compute_capabilities=("8.9",)).save(plan)
    pretend_gpu(monkeypatch, capability="9.0")
    assert rebuild_plan(plan).targets == ()
    assert check_plan(plan, LoadOptions())


def test_a_gpu_too_old_for_the_builder_is_said_to_be_so(plan, monkeypatch):
    pretend_gpu(monkeypatch, capability="7.0")
    with pytest.raises(ExportError, match="cannot build for sm70; it has the targets sm75"):
        rebuild_plan(plan)


def test_it_is_built_for_the_gpu_that_was_asked_for(plan, builder, monkeypatch):
    replace(read_sidecar(plan), targets=("sm80",), precision={"asked": "fp32"}).save(plan)
    pretend_gpu(monkeypatch, count=2)
    monkeypatch.setattr(cuda, "compute_capability", lambda index: ("8.9", "8.6")[index])
    for device, target in ((1, "sm86"), (0, "sm89")):
        assert rebuild_plan(plan, device=device).targets[-1] == target
    assert [options.device for options in builder] == [1, 0]
    assert rebuild_plan(plan, device=7).targets == ("sm80", "sm86", "sm89")  # not there: for what it was built for
