import os
import pickle

import pytest
import torch
from helpers.support import photo_crops, unet_spec, varied_generator

from p2p_deploy.checkpoints import load_checkpoint, save_checkpoint
from p2p_deploy.errors import CheckpointError, SpecError


class RunsCode:
    """A pickle that would make a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def contents(checkpoint):
    return torch.load(checkpoint, weights_only=True)


def saved(tmp_path, contents):
    torch.save(contents, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def test_comes_back_as_it_was(tmp_path):
    spec = unet_spec()
    generator = varied_generator(spec)
    save_checkpoint(tmp_path / "x.pt", spec, generator, {"step": 7})
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.spec == spec
    assert loaded.training == {"step": 7}
    x = torch.from_numpy(photo_crops(1, 64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(loaded.generator(x), generator(x))
    assert not loaded.generator.training
    assert not any(parameter.requires_grad for parameter in loaded.generator.parameters())


def test_holds_tensors_and_texts_only(contents):
    assert {type(value) for value in contents["generator"].values()} == {torch.Tensor}
    assert {type(contents[key]) for key in ("format", "spec", "training")} == {str}


def test_a_pickle_that_would_run_code_does_not(tmp_path):
    trap = tmp_path / "executed"
    torch.save({"format": RunsCode(trap)}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(RunsCode(trap)))
    for name in ("zip.pt", "raw.pt"):
        with pytest.raises(CheckpointError, match="could run any code, so it was refused"):
            load_checkpoint(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("training", ["[]", "3", "[" * 100_000, "{"])
def test_a_training_record_that_is_none_is_refused(tmp_path, contents, training):
    with pytest.raises(CheckpointError, match=r"x\.pt is (altered|an incomplete)"):
        load_checkpoint(saved(tmp_path, {**contents, "training": training}))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(checkpoint, tmp_path, share):
    data = checkpoint.read_bytes()
    (tmp_path / "x.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_checkpoint(tmp_path / "x.pt")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("foreign", "words"),
    [
        (
            {"model.model.0.weight": torch.zeros(1)},
            r"is not a generator that this version knows \(first keys: model.model.0.weight\)",
        ),
        ({"epoch": 3}, r"holds no weights \(keys: epoch\)"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, r"keys: none"),
    ],
)
def test_files_of_other_programs_are_named_for_what_they_are(tmp_path, foreign, words):
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(saved(tmp_path, foreign))


def test_an_incomplete_checkpoint_is_refused(tmp_path, contents):
    del contents["generator"]
    with pytest.raises(CheckpointError, match="incomplete"):
        load_checkpoint(saved(tmp_path, contents))


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "type"])
def test_weights_that_do_not_fit_are_refused_strictly(tmp_path, contents, change):
    weights = contents["generator"]
    key = next(iter(weights))
    if change == "missing":
        del weights[key]
    elif change == "extra":
        weights["downs.9.conv.weight"] = torch.zeros(1)
    elif change == "shape":
        weights[key] = torch.zeros(1, 1, 4, 4)
    else:
        contents["generator"] = [1, 2, 3]
    with pytest.raises(CheckpointError, match="do not fit unet"):
        load_checkpoint(saved(tmp_path, contents))


def test_a_spec_that_asks_for_terabytes_is_refused_without_taking_them(tmp_path, contents):
    contents["spec"] = contents["spec"].replace('"ngf": 4', '"ngf": 400000')
    with pytest.raises(SpecError, match="ngf must be a whole number from 1 to 4096, got 400000"):
        load_checkpoint(saved(tmp_path, contents))


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path, contents):
    contents["spec"] = contents["spec"].replace('"arch": "unet"', '"arch": "transformer"')
    with pytest.raises(SpecError, match=r"x\.pt: Unknown architecture 'transformer'; this version has .*unet"):
        load_checkpoint(saved(tmp_path, contents))
