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
from helpers.training import train
from torch.nn.utils import parametrize

import p2p_deploy
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError, SpecError
from p2p_deploy.exporter.export import export
from p2p_deploy.generators import build_generator
from trainers import SPADEOptions, spade
from trainers.launch import make_fabric
from trainers.losses import hinge_generator_loss, kl_divergence
from trainers.networks import plain
from trainers.spade import SPADE, Encoder, make_spec, mean_over_scales


def options(**changes):
    small = {"size": 64, "labels": CLASSES, "ngf": 2, "ndf": 4}
    return SPADEOptions(**{**small, "batch": 2, "steps": 4, "device": "cpu", **changes})


@pytest.fixture
def narrow(monkeypatch):
    """What looks at the labels is 128 wide in every norm, whatever ``ngf`` is, and would take most of the time."""
    monkeypatch.setattr("p2p_deploy.generators.spade.HIDDEN", 8)


@pytest.fixture
def data(tmp_path, narrow):
    make_data(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def system(tmp_path, narrow):
    chosen = options(z_dim=8)
    torch.manual_seed(0)
    return SPADE(make_fabric(chosen, tmp_path), chosen, make_spec(chosen))


def a_batch(size=64):
    labels = torch.randint(CLASSES, (2, size, size, 1), dtype=torch.int32)
    return labels, labels, torch.rand(2, 3, size, size) * 2 - 1


def largest_singular_value(weight):
    return torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item()


def test_without_options_the_network_is_the_published_one():
    """93.0 million for Cityscapes, table 5 of the appendix."""
    spec = make_spec(SPADEOptions())
    with torch.device("meta"):
        network = build_generator(spec.arch, spec.arch_kwargs)
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(93.0, abs=0.05)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [(256, 512, "normal"), (512, 512, "more"), (512, 1024, "more"), (1024, 2048, "most")],
)
def test_larger_pictures_are_doubled_more_often(size, width, expected):
    assert make_spec(SPADEOptions(size=size, width=width)).arch_kwargs["upsampling"] == expected
    assert make_spec(SPADEOptions(size=size, width=width, upsampling="normal")).arch_kwargs["upsampling"] == "normal"


def test_two_time_scales(system):
    rates = {name: (group["lr"], group["betas"]) for name, o in system.optimizers.items() for group in o.param_groups}
    assert rates == {"G": (1e-4, (0.0, 0.9)), "D": (4e-4, (0.0, 0.9))}


def test_block_convolutions_encoder_and_discriminators_have_a_spectral_norm_of_one(system):
    found = {
        name: [key for key, module in network.named_modules() if parametrize.is_parametrized(module)]
        for name, network in system.networks.items()
    }
    assert len(found["G"]) == 7 * 2 + 4  # four blocks change the width and have a shortcut of their own
    assert all(key.rpartition(".")[2].startswith("conv_") for key in found["G"])
    assert (len(found["E"]), len(found["D"])) == (6, 2 * 4)
    for name, keys in found.items():
        for key in keys:
            weight = system.networks[name].get_submodule(key).eval().weight
            assert 0.999 < largest_singular_value(weight) < 1.2, (name, key)


def test_weights_under_spectral_norm_start_as_published(system):
    convolution = system.networks["D"].discriminators[0].stages[3][0]
    assert convolution.parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.05)


def test_losses_by_hand():
    seen = [[torch.tensor([[0.5, 2.0]])], [torch.tensor([[-3.0]])]]
    assert mean_over_scales(seen, real=True).item() == pytest.approx(((0.5 + 0) / 2 + 4) / 2)
    assert mean_over_scales(seen, real=False).item() == pytest.approx(((1.5 + 3) / 2 + 0) / 2)
    assert hinge_generator_loss(seen[0][0]).item() == pytest.approx(-1.25)
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2)
    assert kl_divergence(mean, log_variance).item() == pytest.approx(0.25)


def test_a_step_moves_every_network(system):
    before = {name: [weight.clone() for weight in network.parameters()] for name, network in system.networks.items()}
    losses = system.step(a_batch())
    assert set(losses) == {"G_kl", "G_gan", "G_features", "D_real", "D_fake"}
    assert all(loss.isfinite() and not loss.requires_grad for loss in losses.values())
    for name, network in system.networks.items():
        moved = [not torch.equal(new, old) for new, old in zip(network.parameters(), before[name], strict=True)]
        assert sum(moved) > 0.8 * len(moved), name


def test_the_encoder_takes_pictures_of_any_size():
    mean, log_variance = Encoder(2, 8)(torch.rand(3, 3, 64, 96))
    assert mean.shape == log_variance.shape == (3, 8)


def test_each_picture_starts_from_its_own_style_and_what_is_deployed_from_the_mean_of_all(system):
    network = system.networks["G"].eval()
    labels = system.given(*a_batch()[:-1])[:1].expand(3, -1, -1, -1)
    styles = torch.randn(3, 8)
    painted = network(labels, styles)
    assert (painted[0] - painted[1]).abs().max() > 1e-4
    torch.testing.assert_close(network(labels[:1], styles[2:]), painted[2:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network(labels), network(labels, torch.zeros(3, 8)), atol=1e-5, rtol=1e-4)


def test_what_is_saved_paints_as_the_network_does(system):
    for _ in range(3):
        system.step(a_batch())
    network, given = system.networks["G"].eval(), system.given(*a_batch()[:-1])
    saved = plain(network)
    assert set(saved.state_dict()) == set(build_generator("spade", system.spec.arch_kwargs).state_dict())
    with torch.no_grad():
        assert (saved(given) - network(given)).std() < 0.05 * network(given).std()
    system.step(a_batch())  # and the network goes on learning


def test_what_is_saved_of_an_average_has_a_spectral_norm_of_one_too(system):
    """Averages of singular vectors are no singular vectors: they are shorter, and point elsewhere."""
    network = system.networks["G"]
    for name, vector in network.named_buffers():
        if name.endswith("._u"):
            vector.copy_((vector + torch.nn.functional.normalize(torch.randn_like(vector), dim=0)) / 2)
    for block in plain(network).blocks:
        assert 0.999 < largest_singular_value(block.conv_0.weight) < 1.2


def test_learns_and_what_it_learnt_survives_export(data, tmp_path, monkeypatch):
    """On maps it never saw, the pictures come nearer; with the pictures of other maps they do not."""
    monkeypatch.setattr(spade, "LEARNING_RATE_G", 2e-3)  # what is small learns faster
    chosen = options(steps=25, batch=1, ngf=4, vgg=str(tiny_vgg(tmp_path / "vgg.pth", 4)))
    assert_learns(spade, data, tmp_path, chosen, 0.6)


@pytest.mark.parametrize("changes", [{}, {"z_dim": 8, "ema": 0.9, "norm": "batch"}], ids=["plain", "vae"])
def test_an_interrupted_training_goes_on_to_the_same_bits(data, tmp_path, changes):
    whole = read(train(data, tmp_path / "whole", options(**changes)))
    parts = read(interrupted(spade, data, tmp_path / "parts", options(**changes), after=2))
    assert differences(whole["generator"], parts["generator"]) == []
    assert differences(whole["state"], parts["state"]) == []


def test_a_network_with_a_style_is_exported_for_its_size(data, tmp_path):
    path = train(data, tmp_path / "run", options(z_dim=8, width=96, steps=2))
    spec = load_checkpoint(path).spec
    assert spec.fixed_size == (64, 96)
    report = export(path, tmp_path / "spade.onnx")
    with p2p_deploy.load(report.onnx) as model:
        shown = np.zeros((1, 64, 96, 1))
        assert model(shown.astype(np.uint8), shown.astype(np.int32)).shape == (1, 64, 96, 3)


def test_says_that_the_perceptual_loss_is_off():
    assert options(vgg="vgg.pth").notices() == []
    assert "perceptual loss is off" in options().notices()[0]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"size": 48}, SpecError, "multiples of 32"),
        ({"size": 32}, SpecError, "at least 64"),
        ({"labels": 0}, DataError, "at least 1 class.*pix2pixhd"),
        ({"upsampling": "least"}, DataError, "upsampling must be"),
        ({"z_dim": 8, "size": 0}, SpecError, "base_size|0x0"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(data, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        train(data, tmp_path / "run", options(**changes))
    assert not (tmp_path / "run").exists()
