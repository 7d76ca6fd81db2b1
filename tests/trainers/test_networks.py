import math

import pytest
import torch

from trainers.discriminators import PatchGAN, pair
from trainers.loop import Schedule
from trainers.losses import bce_gan_loss
from trainers.networks import init_weights, set_trainable


@pytest.mark.parametrize(("side", "logits"), [(128, 14), (256, 30), (286, 33), (512, 62)])
def test_a_patchgan_gives_the_published_number_of_logits(side, logits):
    with torch.device("meta"):
        output = PatchGAN(6, ndf=2)(torch.zeros(1, 6, side, side))
    assert output.shape == (1, 1, logits, logits)


def test_each_logit_sees_70_pixels():
    torch.manual_seed(0)
    network = PatchGAN(1, ndf=2).eval()
    x = torch.zeros(1, 1, 256, 256, requires_grad=True)
    network(x)[0, 0, 15, 15].backward()
    seen = x.grad[0, 0].abs() > 0
    assert seen.any(dim=0).sum() == seen.any(dim=1).sum() == 70


def test_a_patchgan_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = PatchGAN(6)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(2.769, abs=5e-4)


def test_the_gan_loss_of_an_undecided_discriminator_is_ln_2():
    for real in (True, False):
        assert bce_gan_loss(torch.zeros(2, 1, 3, 3), real).item() == pytest.approx(math.log(2))
    assert bce_gan_loss(torch.full((1, 1, 2, 2), 9.0), True) < 0.01
    assert bce_gan_loss(torch.full((1, 1, 2, 2), 9.0), False) > 8


def test_weights_start_as_published():
    network = init_weights(PatchGAN(6))
    convolution = network.layers[5]
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.layers[3].weight.mean().item() == pytest.approx(1, abs=0.02)
    assert network.layers[0].bias.abs().max() == 0


def test_a_frozen_discriminator_passes_gradients_on_and_takes_none():
    network = PatchGAN(2, ndf=2)
    set_trainable(network, False)
    output = torch.zeros(1, 1, 64, 64, requires_grad=True)
    network(pair(torch.zeros(1, 1, 64, 64), output)).sum().backward()
    assert output.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_learning_rate_is_constant_then_falls_in_a_straight_line():
    """200 epochs, as published: 1 for 100 epochs, then 1 - (epoch - 100) / 101."""
    schedule = Schedule(steps=2000, batch=1, pictures=10)
    assert [schedule.learning_rate_factor(step) for step in (0, 999, 1009)] == [1, 1, 1]
    assert schedule.learning_rate_factor(1500) == pytest.approx(1 - 50 / 101)
    assert schedule.learning_rate_factor(1509) == pytest.approx(1 - 50 / 101)
    assert schedule.learning_rate_factor(1999) == pytest.approx(1 - 99 / 101)


def test_steps_take_the_place_of_epochs():
    assert Schedule.plan(10, 4, steps=None, epochs=3) == Schedule(8, 4, 10)
    assert Schedule.plan(10, 4, steps=5, epochs=3) == Schedule(5, 4, 10)


def test_an_epoch_is_as_many_pictures_as_there_are_however_large_the_batch():
    """The loader's batches straddle epochs, so that steps alone do not tell which one it is."""
    assert [Schedule(8, 4, 10).epoch(step) for step in range(8)] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert [Schedule(3, 8, 3).epoch(step) for step in range(3)] == [0, 2, 5]
