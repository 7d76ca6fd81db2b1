import math

import pytest
import torch

from p2p_deploy.errors import OptionError
from trainers import CycleGANOptions, Pix2PixOptions
from trainers.discriminators import PatchGAN, StridedPatchGAN
from trainers.losses import bce_gan_loss, feature_matching_loss, hinge_loss, kl_divergence, lsgan_loss
from trainers.networks import init_weights, plain, settle
from trainers.options import TrainingOptions
from trainers.schedule import Schedule


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
    assert network.stages[2][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.stages[1][1].weight.mean().item() == pytest.approx(1, abs=0.02)
    assert network.stages[0][0].bias.abs().max() == 0


def test_lsgan_and_hinge_measure_the_distance_from_what_is_wanted():
    logits = torch.tensor([0.5, -2.0])
    assert lsgan_loss(logits, True).item() == pytest.approx((0.25 + 9) / 2)
    assert lsgan_loss(logits, False).item() == pytest.approx((0.25 + 4) / 2)
    assert hinge_loss(logits, True).item() == pytest.approx((0.5 + 3) / 2)
    assert hinge_loss(logits, False).item() == pytest.approx((1.5 + 0) / 2)


def test_features_are_matched_layer_for_layer_with_the_published_weights():
    """4 / (n_layers + 1) = 1 for each of four layers, halved for two discriminators."""
    fake = [[torch.zeros(1, 2, 3, 3, requires_grad=True) for _ in range(4)] for _ in range(2)]
    real = [[torch.full((1, 2, 3, 3), float(scale + 1), requires_grad=True) for _ in range(4)] for scale in range(2)]
    loss = feature_matching_loss(fake, real)
    assert loss.item() == pytest.approx((4 * 1 + 4 * 2) / 2)
    loss.backward()
    assert fake[0][0].grad is not None
    assert real[0][0].grad is None


def test_the_divergence_of_the_prior_from_itself_is_zero():
    assert kl_divergence(torch.zeros(2, 5), torch.zeros(2, 5)).item() == 0
    assert kl_divergence(torch.ones(2, 5), torch.zeros(2, 5)).item() == pytest.approx(2.5)


@pytest.mark.parametrize(("spectral", "norm"), [(True, "instance"), (False, "batch")])
def test_weights_under_a_norm_become_plain_and_give_the_same(spectral, norm):
    torch.manual_seed(0)
    network = PatchGAN(3, ndf=4, norm=norm, spectral=spectral)
    x = torch.rand(2, 3, 64, 64)
    network(x)
    network.eval()
    saved = PatchGAN(3, ndf=4, norm=norm).eval()
    settle(network)
    saved.load_state_dict(plain(network).state_dict())
    torch.testing.assert_close(saved(x), network(x))
    before = {key: value.clone() for key, value in network.train().state_dict().items()}
    plain(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    if spectral:
        weight = saved.stages[1][0].weight.flatten(1)
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.3)


def test_four_strided_layers_and_a_head_give_a_sixteenth_and_see_94_pixels():
    network = StridedPatchGAN(1, ndf=2).eval()
    for norm in [layer for layer in network.layers if isinstance(layer, torch.nn.InstanceNorm2d)]:
        norm.eval().forward = lambda x: x  # statistics of the picture see all of it
    x = torch.zeros(1, 1, 256, 256, requires_grad=True)
    output = network(x)
    assert output.shape == (1, 1, 16, 16)
    output[0, 0, 8, 8].backward()
    seen = x.grad[0, 0].abs() > 0
    assert seen.any(dim=0).sum() == seen.any(dim=1).sum() == 94


def test_the_learning_rate_is_constant_then_falls_in_a_straight_line():
    """200 epochs, as published: 1 for 100 epochs, then 1 - (epoch - 100) / 101."""
    schedule = Schedule(steps=2000, batch=1, pictures=10)
    assert [schedule.learning_rate_factor(step) for step in (0, 999, 1009)] == [1, 1, 1]
    assert schedule.learning_rate_factor(1500) == pytest.approx(1 - 50 / 101)
    assert schedule.learning_rate_factor(1509) == pytest.approx(1 - 50 / 101)
    assert schedule.learning_rate_factor(1999) == pytest.approx(1 - 99 / 101)


def test_steps_take_the_place_of_epochs():
    assert Schedule.plan(10, TrainingOptions(batch=4, epochs=3)) == Schedule(8, 4, 10)
    assert Schedule.plan(10, TrainingOptions(batch=4, epochs=3, steps=5)) == Schedule(5, 4, 10)
    assert Schedule.plan(10, TrainingOptions(batch=2, epochs=3, accumulate=2), processes=2) == Schedule(4, 8, 10)


def test_other_curves_of_the_learning_rate():
    cosine = Schedule(100, 1, 10, "cosine")
    assert [round(cosine.learning_rate_factor(step), 6) for step in (0, 50)] == [1, 0.5]
    assert cosine.learning_rate_factor(99) < 0.001
    assert {Schedule(100, 1, 10, "constant").learning_rate_factor(step) for step in range(100)} == {1.0}


def test_an_epoch_is_as_many_pictures_as_there_are_however_large_the_batch():
    """The loader's batches straddle epochs, so that steps alone do not tell which one it is."""
    assert [Schedule(8, 4, 10).epoch(step) for step in range(8)] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert [Schedule(3, 8, 3).epoch(step) for step in range(3)] == [0, 2, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            lambda: Pix2PixOptions(generator="local_enhancer"),
            "`generator` must be one of unet, unet_upsample, resnet; got",
        ),
        (lambda: CycleGANOptions(neck="fpn"), "`neck` must be one of none, pan; got fpn"),
        (lambda: Pix2PixOptions(norm="group"), "`norm` must be one of batch, instance, none; got group"),
        (lambda: TrainingOptions(precision="int8"), "`precision` must be one of fp32, bf16, fp16; got int8"),
    ],
)
def test_options_take_what_they_name(options, words):
    with pytest.raises(OptionError, match=words):
        options()
