"""Two processes over gloo take the step of one, in every system: from torchrun, and from the command itself."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.label_data import assert_same_gradients, make_data, read
from helpers.support import ROOT, invoke, photo_crops, write_images

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
ALONE, HALF = ("--batch", "4"), ("--batch", "2")
# One command after the other, in processes that all of them share.
COMMANDS = """
import json, sys
from p2p_deploy.cli import app
for arguments in json.loads(sys.argv[1]):
    try:
        app(arguments)
    except SystemExit as exc:
        if exc.code:
            raise
"""


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


def arguments(system, data, run, *options):
    fixed = ("--device", "cpu", "--steps", "1", "--no-progress")
    return [*map(str, ("train", system, data, "-o", run, *SYSTEMS[system].split(), *fixed, *options))]


def alone(system, data, run, *options):
    """In this process."""
    result = invoke(*arguments(system, data, run, *options))
    assert result.returncode == 0, result.stderr
    return read(run / "ckpt.pt")


def start(place, *command):
    """In processes of their own; how many checkpoints were announced."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(place)}
    command = [sys.executable, *map(str, command)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert result.returncode == 0, result.stderr
    return result.stdout.count("checkpoint: ")


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """Each system's checkpoint of two processes under torchrun."""
    root = tmp_path_factory.mktemp("two")
    (root / "commands.py").write_text(COMMANDS)
    commands = [arguments(system, data, root / system, *HALF) for system in SYSTEMS]
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    assert start(root, *torchrun, root / "commands.py", json.dumps(commands)) == len(SYSTEMS)
    return {system: read(root / system / "ckpt.pt") for system in SYSTEMS}


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_processes_take_the_step_of_one(system, data, two, tmp_path):
    assert_same_gradients(two[system], alone(system, data, tmp_path / "one", *ALONE))


def test_so_do_two_of_the_command_itself(data, tmp_path):
    command = arguments("pix2pix", data, tmp_path / "two", *HALF, "--devices", "2")
    assert start(tmp_path, "-m", "p2p_deploy", *command) == 1
    one = alone("pix2pix", data, tmp_path / "one", *ALONE)
    assert_same_gradients(read(tmp_path / "two" / "ckpt.pt"), one)
    with pytest.raises(AssertionError):  # half of the pictures make another step
        assert_same_gradients(alone("pix2pix", data, tmp_path / "half", *HALF), one)
