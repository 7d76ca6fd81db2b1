import cv2
import numpy as np
import pytest
import torch
from helpers.support import photo_crops, write_images
from helpers.training import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError, DeviceError, Failed, OptionError, OutputError, SpecError
from trainers import Pix2PixOptions, pix2pix
from trainers.launch import make_fabric
from trainers.pix2pix import make_spec


@pytest.fixture
def data(tmp_path):
    """Invert the picture: small enough to be learnt in seconds."""
    frames = photo_crops(12, 48)
    write_images(tmp_path / "data" / "A" / "train", frames)
    write_images(tmp_path / "data" / "B" / "train", 255 - frames)
    return tmp_path / "data"


def options(**changes):
    return Pix2PixOptions(**{"size": 32, "batch": 2, "steps": 6, "ngf": 4, "device": "cpu", **changes})


def test_writes_a_checkpoint_samples_and_logs(data, tmp_path):
    seen = []
    path = train(data, tmp_path / "run", options(steps=12), on_progress=seen.append)
    assert path == tmp_path / "run" / "ckpt.pt"
    checkpoint = load_checkpoint(path)
    assert checkpoint.training["step"] == 12
    assert checkpoint.training["options"]["ngf"] == 4
    assert checkpoint.training["pairs"] == 12
    (sample,) = (tmp_path / "run" / "samples").iterdir()
    assert cv2.imread(str(sample)).shape == (4 * 32, 3 * 32, 3)
    logs = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert set(logs.Tags()["scalars"]) == {"D_real", "D_fake", "G_gan", "G_L1", "learning_rate"}
    assert [event.step for event in logs.Scalars("G_L1")] == [1, 10, 12]
    assert [now.step for now in seen] == list(range(1, 13))
    assert all(np.isfinite(list(now.losses.values())).all() and now.losses for now in seen)


def test_the_same_seed_gives_the_same_weights(data, tmp_path):
    def weights(name, seed):
        return load_checkpoint(train(data, tmp_path / name, options(seed=seed))).generator.state_dict()

    first, again, other = weights("a", 0), weights("b", 0), weights("c", 1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_options_become_the_spec(data, tmp_path):
    path = train(data, tmp_path / "run", options(input_channels=1, direction="BtoA", size=64, steps=1, dropout=False))
    spec = load_checkpoint(path).spec
    assert spec.arch_kwargs == {"in_channels": 1, "out_channels": 3, "num_downs": 6, "ngf": 4, "dropout": False}
    assert (spec.train_size, spec.size_multiple, spec.direction, spec.input.color) == ((64, 64), 64, "BtoA", "gray")


@pytest.mark.parametrize(("size", "num_downs"), [(256, 8), (128, 7), (512, 8), (96, 5), (320, 6)])
def test_the_deepest_network_that_fits_is_taken(size, num_downs):
    assert make_spec(Pix2PixOptions(size=size)).arch_kwargs["num_downs"] == num_downs


def test_a_step_moves_both_networks_and_each_by_its_own_loss(data, tmp_path):
    fabric = make_fabric(options(), tmp_path)
    torch.manual_seed(0)
    system = pix2pix.Pix2Pix(fabric, options(), make_spec(options()))
    before = [[parameter.clone() for parameter in network.parameters()] for network in (system.G, system.D)]
    losses = system.step((torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)))
    for network, old in zip((system.G, system.D), before, strict=True):
        assert any(not torch.equal(new, was) for new, was in zip(network.parameters(), old, strict=True))
    assert losses["G_L1"] > 0
    assert all(weight.requires_grad for network in system.networks.values() for weight in network.parameters())
    assert not any(value.requires_grad for value in losses.values())


def test_a_training_that_diverges_stops_with_a_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setattr(pix2pix, "L1_WEIGHT", float("nan"))
    with pytest.raises(Failed, match=r"diverged: .*not a finite number at step 10"):
        train(data, tmp_path / "run", options(steps=30))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"size": 100}, DataError, "multiple of 32 pixels"),
        ({"size": 0}, OptionError, "`size` must be at least 1; got 0"),
        ({"size": 64, "num_downs": 7}, SpecError, "multiples of 128"),
        ({"steps": 0}, OptionError, "`steps` must be at least 1; got 0"),
        ({"input_channels": 4}, OptionError, "`input_channels` must be at most 3; got 4"),
        ({"input_channels": 2}, SpecError, "1 .grey. or 3"),
        ({"device": "tpu"}, DeviceError, "expected auto, cpu or cuda"),
        ({"device": "cuda:99"}, DeviceError, "cuda:99 was asked for"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(data, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        train(data, tmp_path / "run", options(**changes))
    assert not (tmp_path / "run" / "ckpt.pt").exists()


def test_an_existing_run_is_refused_unless_it_may_be_replaced(data, tmp_path):
    train(data, tmp_path / "run", options(steps=1))
    with pytest.raises(OutputError, match=r"ckpt\.pt exists already"):
        train(data, tmp_path / "run", options(steps=1))
    train(data, tmp_path / "run", options(steps=2), overwrite=True)
    assert load_checkpoint(tmp_path / "run" / "ckpt.pt").training["step"] == 2
