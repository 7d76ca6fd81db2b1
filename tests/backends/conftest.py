"""Plans on a pretended GPU, for every test of the TensorRT backend."""

import gc

import pytest
from helpers.fake_gpu import Gpu, assert_well
from helpers.plans import FLAVOURS, pretend_runtime, profile, write_plan

from p2p_deploy.backends import load
from p2p_deploy.options import LoadOptions

PROFILES = (profile((1, 4, 8)),)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Open a plan on a pretended GPU; whatever the test does, nothing may be left when it ends."""
    gpus = []
    gc.freeze()  # what was there before need not be looked through at every collection

    def open_plan(
        pace="late", flavour="tensorrt", profiles=PROFILES, options=None, sidecar=None, engine=None, says=(), **gpu
    ):
        module, version = FLAVOURS[flavour]
        gpus.append(Gpu(pace, **gpu))
        gpus[-1].says = says
        engine = {"profiles": profiles, **(engine or {})}
        pretend_runtime(monkeypatch, gpus[-1], module=module, version=version, **engine)
        changes = {"flavour": flavour, "flavour_version": version, "profiles": profiles, **(sidecar or {})}
        return gpus[-1], load(write_plan(tmp_path, **changes), LoadOptions(**options or {}))

    yield open_plan
    gc.collect()
    gc.unfreeze()
    for gpu in gpus:
        assert_well(gpu)
