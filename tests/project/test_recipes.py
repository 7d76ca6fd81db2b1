"""Every training in docs/recipes.md runs as it is written, on little data and for two steps."""

import contextlib
import re
import shlex

import numpy as np
import pytest
from helpers.label_data import make_data, tiny_vgg
from helpers.support import ROOT, invoke, photo_crops, write_images

from p2p_deploy.checkpoints import load_checkpoint

TEXT = (ROOT / "docs" / "recipes.md").read_text()
COMMANDS = re.findall(r"^    p2p (train .*)$", TEXT, re.MULTILINE)
OTHERS = re.findall(r"^    p2p ((?:export|sample) .*)$", TEXT, re.MULTILINE)
# Added to each; the last one of an option counts.
LITTLE = {
    "pix2pix": "--size 64 --ngf 2",
    "cyclegan": "--size 32 --ngf 2 --n-blocks 1",
    "pix2pixhd": "--size 64 --width 64 --ngf 2 --ndf 2 --labels 5 --n-downs 2 --n-blocks 1",
    "spade": "--size 64 --width 64 --ngf 2 --ndf 2 --labels 5",
    "gan": "--size 16 --ngf 8",
    "cgan": "--size 16 --ngf 8",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data sets by the names they have in the recipes."""
    root = tmp_path_factory.mktemp("recipes")
    frames = photo_crops(4, 64)
    write_images(root / "facades" / "train", np.concatenate([frames, 255 - frames], axis=2))
    write_images(root / "horse2zebra" / "trainA", frames)
    write_images(root / "horse2zebra" / "trainB", 255 - frames)
    make_data(root / "cityscapes", 4, 64)
    for name in "ab":
        write_images(root / "digits" / "train" / name, photo_crops(40, 16, 1))
    tiny_vgg(root / "vgg19.pth")
    return root


def test_every_system_has_one():
    assert {command.split()[1] for command in COMMANDS} == set(LITTLE)


@pytest.fixture(scope="module")
def trained(folder):
    """Trainings in the order of the page, since some go on with what others made."""
    results = {}
    for command in COMMANDS:
        little = LITTLE[command.split()[1]] + (" --ngf 1" if "local_enhancer" in command else "")
        with contextlib.chdir(folder):
            results[command] = invoke(*shlex.split(f"{command} {little} --steps 2 --device cpu"))
    return results


@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe_trains(command, folder, trained):
    result = trained[command]
    assert result.returncode == 0, result.stderr
    run = folder / re.search(r"-o (\S+)", command)[1]
    assert load_checkpoint(run / "ckpt.pt").training["step"] == 2
    assert (run / "report.html").is_file()
    assert ("perceptual loss is off" in result.stderr) == (
        command.split()[1] in ("pix2pixhd", "spade") and "--vgg" not in command
    )


def test_what_is_trained_is_exported_and_drawn_with_as_written(folder, trained):
    for command in OTHERS:
        with contextlib.chdir(folder):
            result = invoke(*shlex.split(command))
        assert result.returncode == 0, (command, result.stderr)
    assert (folder / "digits.png").is_file()
