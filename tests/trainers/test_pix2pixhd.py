import json

import numpy as np
import pytest
import torch
from helpers.label_data import (
    CLASSES,
    assert_learns,
    differences,
    interrupted,
    make_data,
    read,
    tiny_vgg,
)
from helpers.support import photo_crops, write_images
from helpers.training import train

import p2p_deploy
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError, OptionError, SpecError
from p2p_deploy.exporter.export import export
from p2p_deploy.generators import build_generator
from trainers import Pix2PixHDOptions, pix2pixhd
from trainers.discriminators import MultiScale, PatchGAN
from trainers.launch import make_fabric
from trainers.losses import feature_matching_loss
from trainers.pix2pixhd import make_spec, sum_over_scales

LOCAL = {"generator": "local_enhancer", "size": 64, "ngf": 2}


def options(**changes):
    small = {"size": 32, "labels": CLASSES, "ngf": 4, "ndf": 4, "n_downs": 2, "n_blocks": 1}
    return Pix2PixHDOptions(**{**small, "batch": 2, "steps": 4, "device": "cpu", **changes})


@pytest.fixture
def data(tmp_path):
    make_data(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(("generator", "keys", "millions"), [("resnet", 56, 182.547), ("local_enhancer", 74, 182.857)])
def test_without_options_the_network_is_the_published_one(generator, keys, millions):
    """Cityscapes: 35 classes and the edges of instances."""
    spec = make_spec(Pix2PixHDOptions(generator=generator))
    with torch.device("meta"):
        network = build_generator(spec.arch, spec.arch_kwargs)
    assert len(network.state_dict()) == keys
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)
    assert [image.kind for image in spec.inputs] == ["labels", "instances"]


def test_discriminators_see_a_pyramid_of_pictures():
    with torch.device("meta"):
        network = MultiScale([PatchGAN(39, norm="instance", padding=2) for _ in range(3)])
        seen = network(torch.zeros(1, 39, 256, 512))
    assert [tuple(layer.shape[2:]) for layer in seen[0]] == [(129, 257), (65, 129), (33, 65), (34, 66), (35, 67)]
    assert [tuple(layers[-1].shape) for layers in seen] == [(1, 1, 35, 67), (1, 1, 19, 35), (1, 1, 11, 19)]


def test_each_logit_sees_70_pixels_and_on_the_smaller_picture_twice_as_many():
    torch.manual_seed(0)
    network = MultiScale([PatchGAN(1, ndf=2, norm="none", padding=2) for _ in range(2)])
    for scale, (middle, sees) in enumerate([(16, 70), (9, 2 * 69 + 3)]):
        x = torch.zeros(1, 1, 256, 256, requires_grad=True)
        network(x)[scale][-1][0, 0, middle, middle].backward()
        seen = x.grad[0, 0] != 0
        assert seen.any(dim=0).sum() == seen.any(dim=1).sum() == sees


def test_losses_by_hand():
    undecided = [[torch.zeros(1, 1, 3, 3)], [torch.full((1, 1, 2, 2), 0.5)]]
    assert sum_over_scales(undecided, real=True).item() == pytest.approx(1 + 0.25)
    assert sum_over_scales(undecided, real=False).item() == pytest.approx(0 + 0.25)
    fake = [[torch.zeros(1, 2, 3, 3)] * 4, [torch.zeros(1, 2, 2, 2)] * 4]
    real = [[torch.full((1, 2, 3, 3), 0.5)] * 4, [torch.full((1, 2, 2, 2), -0.25)] * 4]
    assert feature_matching_loss(fake, real).item() == pytest.approx((4 * 0.5 + 4 * 0.25) / 2)


def test_a_step_moves_both_networks(tmp_path):
    chosen = options(vgg=str(tiny_vgg(tmp_path / "vgg.pth")))
    torch.manual_seed(0)
    system = pix2pixhd.Pix2PixHD(make_fabric(chosen, tmp_path), chosen, make_spec(chosen))
    before = {name: [weight.clone() for weight in network.parameters()] for name, network in system.networks.items()}
    maps = torch.randint(CLASSES, (2, 32, 32, 1), dtype=torch.int32)
    losses = system.step((maps, maps, torch.rand(2, 3, 32, 32) * 2 - 1))
    assert set(losses) == {"G_gan", "G_features", "G_vgg", "D_real", "D_fake"}
    assert all(loss.isfinite() and loss > 0 and not loss.requires_grad for loss in losses.values())
    for name, network in system.networks.items():
        assert all(not torch.equal(new, old) for new, old in zip(network.parameters(), before[name], strict=True)), name


def test_learns_and_what_it_learnt_survives_export(data, tmp_path, monkeypatch):
    """On maps it never saw, the pictures come nearer; with the pictures of other maps they do not."""
    monkeypatch.setattr(pix2pixhd, "LEARNING_RATE", 4e-3)  # what is small learns faster
    chosen = options(steps=80, ngf=8, vgg=str(tiny_vgg(tmp_path / "vgg.pth", 4)))
    assert_learns(make_spec, data, tmp_path, chosen, 0.75)


def test_an_interrupted_training_goes_on_to_the_same_bits(data, tmp_path):
    chosen = options(vgg=str(tiny_vgg(tmp_path / "vgg.pth")))
    whole = read(train(data, tmp_path / "whole", chosen))
    parts = read(interrupted(data, tmp_path / "parts", chosen, after=2))
    assert differences(whole["generator"], parts["generator"]) == []
    assert differences(whole["state"], parts["state"]) == []
    other = read(train(data, tmp_path / "other", options(seed=1)))
    assert differences(whole["generator"], other["generator"])


class TestLocalEnhancer:
    @pytest.fixture
    def coarse(self, data, tmp_path):
        return train(data, tmp_path / "coarse", options(steps=1))

    def test_begins_with_the_coarse_network_and_leaves_it_alone_at_first(self, data, coarse, tmp_path):
        """Epochs of four steps: the coarse network is as it was after the first, and not after the second."""
        chosen = options(**LOCAL, coarse=str(coarse), freeze_coarse=1, steps=8, keep=9, save_every=4)
        path = train(data, tmp_path / "local", chosen)
        begun = load_checkpoint(coarse).generator.state_dict()
        early, late = (
            load_checkpoint(each).generator.state_dict()
            for each in (tmp_path / "local" / "checkpoints" / "step-0000004.pt", path)
        )
        trunk = [key for key in early if key.startswith("coarse.")]
        assert len(trunk) == len(begun) - 2  # the last convolution is not in it
        assert all(torch.equal(early[key], begun[key.removeprefix("coarse.")]) for key in trunk)
        assert not any(torch.equal(early[key], late[key]) for key in trunk)
        fresh = load_checkpoint(train(data, tmp_path / "fresh", options(**LOCAL, steps=1))).generator.state_dict()
        assert not torch.equal(early["coarse.head.conv.weight"], fresh["coarse.head.conv.weight"])

    def test_goes_on_to_the_same_bits_while_frozen_and_thereafter(self, data, coarse, tmp_path):
        chosen = options(**LOCAL, coarse=str(coarse), freeze_coarse=1, steps=6)
        whole = read(train(data, tmp_path / "whole", chosen))
        for after in (3, 5):
            parts = read(interrupted(data, tmp_path / f"parts{after}", chosen, after))
            assert differences(whole["state"], parts["state"]) == []

    def test_is_exported(self, data, tmp_path):
        path = train(data, tmp_path / "local", options(**LOCAL, steps=1))
        report = export(path, tmp_path / "local.onnx")
        with p2p_deploy.load(report.onnx) as model:
            shown = np.zeros((1, 64, 64, 1))
            assert model(shown.astype(np.uint8), shown.astype(np.int32)).shape == (1, 64, 64, 3)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"n_blocks": 2}, "n_blocks 1 instead of 2"),
            ({"ngf": 4}, "ngf 4 instead of 8"),
            ({"instances": False}, "in_channels 6 instead of 5"),
            ({"labels": CLASSES + 1, "instances": False}, "other inputs"),
        ],
    )
    def test_another_coarse_network_is_refused(self, data, coarse, tmp_path, changes, words):
        with pytest.raises(DataError, match=f"not the global generator .*{words}"):
            train(data, tmp_path / "local", options(**{**LOCAL, **changes}, coarse=str(coarse)))
        assert not (tmp_path / "local").exists()


def test_pictures_to_pictures(tmp_path):
    frames = photo_crops(4, 32)
    write_images(tmp_path / "data" / "train_A", frames)
    write_images(tmp_path / "data" / "train_B", 255 - frames)
    path = train(tmp_path / "data", tmp_path / "run", options(labels=0, steps=2))
    spec = load_checkpoint(path).spec
    assert (spec.input.kind, spec.arch_kwargs["in_channels"]) == ("image", 3)
    report = export(path, tmp_path / "hd.onnx")
    with p2p_deploy.load(report.onnx) as model:
        assert model(frames).shape == frames.shape


def test_says_that_the_perceptual_loss_is_off(data, tmp_path):
    assert options(vgg="vgg.pth").notices() == []
    (notice,) = options().notices()
    assert "perceptual loss is off" in notice
    training = json.loads(read(train(data, tmp_path / "run", options(steps=1)))["training"])
    assert training["notices"] == [notice]
    assert (training["system"], training["pictures"]) == ("pix2pixhd", 8)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"size": 30}, SpecError, "multiples of 4"),
        ({"width": 34}, SpecError, "multiples of 4"),
        ({"scales": 0}, OptionError, "`scales` must be at least 1"),
        ({"coarse": "ckpt.pt"}, DataError, "the generator is resnet"),
        ({"labels": -1}, OptionError, "`labels` must be at least 0"),
        ({"n_blocks": -1}, OptionError, "`n_blocks` must be at least 1"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(data, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        train(data, tmp_path / "run", options(**changes))
    assert not (tmp_path / "run").exists()
