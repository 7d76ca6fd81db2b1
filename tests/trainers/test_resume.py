"""Trainings that are interrupted and go on, average weights, add up gradients, and share steps among processes."""

import itertools
import threading

import pytest
import torch
from helpers.label_data import assert_same_gradients
from helpers.support import photo_crops, write_images
from helpers.training import train

from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import CheckpointError, DataError, DeviceError, Failed, OutputError
from trainers import CycleGANOptions, Pix2PixOptions, health, pix2pix
from trainers.image_pool import ImagePool


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Inverting, as pairs and as two domains."""
    root = tmp_path_factory.mktemp("data")
    frames = photo_crops(12, 72)
    for split, some in (("train", frames), ("val", frames[:3])):
        write_images(root / "A" / split, some)
        write_images(root / "B" / split, 255 - some)
    write_images(root / "trainA", frames)
    write_images(root / "trainB", 255 - frames[:7])
    return root


SMALL = {"size": 64, "batch": 2, "steps": 8, "ngf": 4, "device": "cpu"}
SYSTEMS = {
    "unet": (Pix2PixOptions, {}),
    "unet that averages and adds up": (Pix2PixOptions, {"ema": 0.9, "accumulate": 2}),
    "unet_upsample": (Pix2PixOptions, {"generator": "unet_upsample"}),
    "resnet": (Pix2PixOptions, {"generator": "resnet", "schedule": "cosine"}),
    "unet in bf16": (Pix2PixOptions, {"precision": "bf16"}),
    "cycle of resnets": (CycleGANOptions, {"pool": 3}),
    "cycle of unets": (CycleGANOptions, {"generator": "unet", "pool": 3, "direction": "BtoA"}),
}


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def contents(path):
    return torch.load(path, weights_only=True)


def stop_after(step):
    """Told to stop while it reports the step before."""
    cancel = threading.Event()

    def on_progress(now):
        if now.step == step - 1:
            cancel.set()

    return {"cancel": cancel, "on_progress": on_progress}


@pytest.mark.parametrize("name", SYSTEMS)
def test_going_on_takes_the_same_steps_to_the_last_bit(name, data, tmp_path):
    kind, changes = SYSTEMS[name]
    options = kind(**{**SMALL, **changes})
    whole = contents(train(data, tmp_path / "whole", options))
    for stop in (3, 5):
        resume = stop != 3
        train(data, tmp_path / "parts", options, resume=resume, **stop_after(stop))
        assert load_checkpoint(tmp_path / "parts" / "ckpt.pt").training["step"] == stop
    parts = contents(train(data, tmp_path / "parts", options, resume=True))
    assert equal(parts["generator"], whole["generator"])
    assert equal(parts["state"], whole["state"])
    halfway = contents(train(data, tmp_path / "half", options, **stop_after(4)))
    assert not equal(halfway["generator"], whole["generator"])


def test_what_is_added_up_is_a_larger_batch(data, tmp_path):
    """Where nothing looks at the whole batch: no BatchNorm, no dropout."""
    small = {**SMALL, "generator": "resnet", "dropout": False, "steps": 1}
    large = contents(train(data, tmp_path / "large", Pix2PixOptions(**{**small, "batch": 4})))
    parts = contents(train(data, tmp_path / "parts", Pix2PixOptions(**small, accumulate=2)))
    half = contents(train(data, tmp_path / "half", Pix2PixOptions(**small)))
    assert_same_gradients(parts, large)
    with pytest.raises(AssertionError):
        assert_same_gradients(half, large)


def test_the_average_of_the_weights_is_deployed(data, tmp_path):
    path = train(data, tmp_path / "run", Pix2PixOptions(**SMALL, ema=0.9))
    saved = contents(path)
    assert not equal(saved["generator"], saved["state"]["system"]["networks"]["G"])
    plain = contents(train(data, tmp_path / "plain", Pix2PixOptions(**SMALL)))
    assert equal(plain["generator"], saved["state"]["system"]["networks"]["G"])


def test_the_last_and_the_best_are_kept(data, tmp_path):
    options = Pix2PixOptions(**{**SMALL, "steps": 12}, save_every=2, keep=2, validate_every=3)
    seen = []
    train(data, tmp_path / "run", options, on_progress=seen.append)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step-0000010.pt", "step-0000012.pt"]
    assert equal(contents(tmp_path / "run" / "checkpoints" / kept[1]), contents(tmp_path / "run" / "ckpt.pt"))
    measured = {now.step: now.measures["l1"] for now in seen if now.step % 3 == 0}
    best = load_checkpoint(tmp_path / "run" / "best.pt")
    assert best.training["step"] == min(measured, key=measured.__getitem__)
    assert best.training["best"] == min(measured.values())
    assert "state" not in contents(tmp_path / "run" / "best.pt")


class TestRefusals:
    def test_nothing_to_go_on_from(self, data, tmp_path):
        with pytest.raises(OutputError, match=r"ckpt\.pt does not exist, so there is nothing to go on from"):
            train(data, tmp_path / "run", Pix2PixOptions(**SMALL), resume=True)

    def test_other_options(self, data, tmp_path):
        train(data, tmp_path / "run", Pix2PixOptions(**{**SMALL, "steps": 1}))
        with pytest.raises(DataError, match="batch was 2 and is 4, seed was 0 and is 5"):
            train(data, tmp_path / "run", Pix2PixOptions(**{**SMALL, "batch": 4, "seed": 5}), resume=True)

    def test_another_system(self, data, tmp_path):
        train(data, tmp_path / "run", Pix2PixOptions(**{**SMALL, "steps": 1}))
        with pytest.raises(DataError, match="is of pix2pix, and cyclegan would go on with it"):
            train(data, tmp_path / "run", CycleGANOptions(**SMALL), resume=True)

    def test_a_checkpoint_without_its_state(self, data, tmp_path):
        path = train(data, tmp_path / "run", Pix2PixOptions(**{**SMALL, "steps": 1}))
        saved = contents(path)
        del saved["state"]["system"]["optimizers"]["D"]
        torch.save(saved, path)
        with pytest.raises(CheckpointError, match=r"cannot be gone on from .*Train anew with --overwrite"):
            train(data, tmp_path / "run", Pix2PixOptions(**SMALL), resume=True)

    def test_half_precision_on_a_cpu(self, data, tmp_path):
        with pytest.raises(DeviceError, match="fp16 is for GPUs"):
            train(data, tmp_path / "run", Pix2PixOptions(**SMALL, precision="fp16"))

    @pytest.mark.parametrize("changes", [{"batch": 0}, {"ema": 1.0}, {"keep": -1}, {"accumulate": 0}])
    def test_numbers_that_mean_nothing(self, changes):
        with pytest.raises(DataError, match=next(iter(changes))):
            Pix2PixOptions(**changes)


def test_memory_that_is_out_names_what_to_turn(data, tmp_path, monkeypatch):
    def step(self, batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99999999999 bytes")

    monkeypatch.setattr(pix2pix.Pix2Pix, "step", step)
    with pytest.raises(Failed, match=r"Memory is out at step 1 with batches of 2\. Make --batch smaller"):
        train(data, tmp_path / "run", Pix2PixOptions(**SMALL))


class TestDoubts:
    def test_outputs_that_look_alike_are_noticed_once(self):
        health_checks = health.HealthChecks()
        columns = [torch.rand(4, 3, 8, 8), torch.full((4, 3, 8, 8), 0.3), torch.rand(4, 3, 8, 8)]
        assert health_checks.of_samples(columns, step=10) is None
        assert "generator has collapsed" in health_checks.of_samples(columns, step=500)
        assert health_checks.of_samples(columns, step=1000) is None
        columns[1] = torch.rand(4, 3, 8, 8)
        assert health.HealthChecks().of_samples(columns, step=500) is None

    def test_a_discriminator_that_has_won_is_noticed(self):
        health_checks = health.HealthChecks()
        sure, unsure = {"D_real": 0.001, "D_fake": 0.002, "G_gan": 9.0}, {"D_real": 0.001, "D_fake": 0.4}
        said = [health_checks.of_losses(sure, step) for step in range(10, 500, 10)]
        assert not any(said)
        assert health_checks.of_losses(unsure, 500) is None
        said = [health_checks.of_losses(sure, step) for step in range(510, 1100, 10)]
        assert [sentence is not None for sentence in said].count(True) == 1


def test_a_pool_gives_half_of_what_comes_and_keeps_as_many_as_it_may():
    torch.manual_seed(0)
    pool = ImagePool(10)
    numbers = itertools.count()
    shown = [int(pool.exchange(torch.full((1, 1, 1, 1), float(next(numbers))))) for _ in range(500)]
    assert shown[:10] == list(range(10))
    older = sum(value != index for index, value in enumerate(shown))
    assert 200 < older < 300
    twice = {index for index in range(10) if shown.count(index) == 2}  # shown at once, kept, and given away later
    assert len(set(shown)) == 500 - len(twice)
    assert len(pool.state()) == 10
    none = ImagePool(0)
    assert float(none.exchange(torch.ones(1, 1, 1, 1))) == 1
