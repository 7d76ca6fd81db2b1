"""The wheel, installed as a user would, in an environment without torch and onnx."""

import json
import subprocess
import sys
import venv

import pytest
from helpers.networks import write_identity
from helpers.support import ROOT, photo_crops, write_images

pytestmark = pytest.mark.timeout(240)


def run(*command, **kwargs):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=200, **kwargs)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with the wheel and its [cpu] extra."""
    folder = tmp_path_factory.mktemp("install")
    built = run(
        *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT),
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env")
    pip = (sys.executable, "-m", "pip", "--python", folder / "env" / "bin" / "python")
    installed = run(*pip, "install", "-q", "--no-compile", "-c", ROOT / "constraints.txt", f"{wheel}[cpu]")
    assert installed.returncode == 0, installed.stderr
    return folder / "env" / "bin"


def test_works_without_torch_and_onnx(environment, tmp_path):
    model = write_identity(tmp_path / "m.onnx")
    write_images(tmp_path / "in", photo_crops(3, 40))
    missing = "import importlib.util as u; print([m for m in ('torch', 'onnx', 'tensorrt') if u.find_spec(m)])"
    assert run(environment / "python", "-c", missing, cwd=tmp_path).stdout.strip() == "[]"

    p2p = environment / "p2p"
    assert "Usage: p2p" in run(p2p, "--help", cwd=tmp_path).stdout
    assert "32x32" in run(p2p, "info", model, cwd=tmp_path).stdout
    result = run(p2p, "run", model, tmp_path / "in", tmp_path / "out", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["done"] == 3
    assert len(list((tmp_path / "out").glob("*.png"))) == 3

    code = (
        "import numpy as np, p2p_deploy\n"
        f"with p2p_deploy.load({str(model)!r}) as model:\n"
        "    frames = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(1, 32, 32, 3)\n"
        "    assert (model(frames) == frames).all()\n"
        f"    print(p2p_deploy.run(model, {str(tmp_path / 'in')!r}, {str(tmp_path / 'again')!r}).frames)\n"
    )
    result = run(environment / "python", "-c", code, cwd=tmp_path)
    assert result.stdout.strip() == "3", result.stderr
    result = run(p2p, "export", "x.pt", cwd=tmp_path)
    assert result.returncode == 1
    assert "pip install 'p2p-deploy[export]'" in result.stderr
    assert "ok  ONNX Runtime" in run(p2p, "doctor", cwd=tmp_path).stdout
    for module in ("backends.onnxruntime", "benchmark", "cli.demo"):
        assert run(environment / "python", "-c", f"import p2p_deploy.{module}", cwd=tmp_path).returncode == 0
