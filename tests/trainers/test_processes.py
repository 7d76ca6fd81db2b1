"""Two processes over gloo take the step of one, in every system: from the command itself, and from torchrun."""

import subprocess
import sys

import numpy as np
import pytest
from helpers.label_data import assert_same_gradients, make_data, read
from helpers.support import ROOT, photo_crops, write_images

# Without BatchNorm, dropout and pools, which look at the pictures of a process, or draw for it alone.
LABELS = "--size 32 --labels 5 --ngf 4 --ndf 4"
SYSTEMS = {
    "pix2pix": "--generator resnet --n-blocks 1 --no-dropout --size 32 --ngf 4",
    "cyclegan": "--n-blocks 1 --pool 0 --size 32 --ngf 4",
    "pix2pixhd": f"{LABELS} --n-downs 2 --n-blocks 1",
    "spade": f"{LABELS} --size 64 --z-dim 8",
    "gan": "--size 16 --ngf 8",
    "cgan": "--size 16 --ngf 8",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One folder that every system finds its pictures in."""
    root = tmp_path_factory.mktemp("data")
    frames = photo_crops(6, 40)
    write_images(root / "train", np.concatenate([frames, 255 - frames], axis=2))
    for name, pictures in (("trainA", frames), ("trainB", 255 - frames), ("train/a", frames), ("train/b", frames)):
        write_images(root / name, pictures)
    make_data(root, 6, 40)
    return root


def train(data, run, system, *options, launcher=()):
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(run.parent)}
    command = [
        sys.executable,
        *launcher,
        "-m",
        "p2p_deploy",
        "train",
        system,
        data,
        "-o",
        run,
        *SYSTEMS[system].split(),
    ]
    command += ["--device", "cpu", "--steps", "1", "--no-progress", *options]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=200)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("checkpoint: ") == 1
    return read(run / "ckpt.pt")


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_processes_take_the_step_of_one(system, data, tmp_path):
    one = train(data, tmp_path / "one", system, "--batch", "4")
    two = train(data, tmp_path / "two", system, "--batch", "2", "--devices", "2")
    assert_same_gradients(two, one)


def test_so_do_two_under_torchrun(data, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    two = train(data, tmp_path / "two", "pix2pix", "--batch", "2", launcher=torchrun)
    one = train(data, tmp_path / "one", "pix2pix", "--batch", "4")
    assert_same_gradients(two, one)
    with pytest.raises(AssertionError):  # half of the pictures make another step
        assert_same_gradients(train(data, tmp_path / "half", "pix2pix", "--batch", "2"), one)
