"""Shared fixtures, and the rule that only tests that need a GPU may skip."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import cv2
import pytest
from helpers.exports import kept
from helpers.networks import write_identity
from helpers.support import unet_spec, varied_generator

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.exporter import onnx
from p2p_deploy.exporter.export import export
from p2p_deploy.exporter.report import ExportReport
from p2p_deploy.options import ExportOptions

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
gc.set_threshold(100_000, 20, 20)  # tracing a network makes millions of objects that all stay
# Tests that press Ctrl-C, and the processes they start, must hear it in the background of a script too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("gpu") is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped; only tests marked gpu may: {call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} skipped as a whole; only tests marked gpu may: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="session", autouse=True)
def traced_once(tmp_path_factory):
    """Every test that exports a network gets what torch wrote of it for the first one, in whichever process."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "traced"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "_export", kept(onnx._export, folder))
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A small U-Net for 64 x 64 pixels whose output varies."""
    spec = unet_spec()
    path = tmp_path_factory.mktemp("checkpoint") / "small.pt"
    save_checkpoint(path, spec, varied_generator(spec), {"system": "test"})
    return path


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory) -> ExportReport:
    """The small U-Net as FP32 ONNX, FP16 ONNX and plan, from the real builder."""
    folder = tmp_path_factory.mktemp("exported")
    return export(checkpoint, folder / "small.onnx", ExportOptions(trt=True))


@pytest.fixture
def identity(tmp_path) -> Path:
    """An ONNX file that gives back its 32 x 32 frames."""
    return write_identity(tmp_path / "identity.onnx")
