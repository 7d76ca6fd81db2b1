"""Losses shared by the systems. All are computed in float32, whatever the networks' precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CONSISTENCY_NOISE = 0.05  # its standard deviation; black and white are 2 apart
GanLoss = Callable[[Tensor, bool], Tensor]


def bce_gan_loss(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of a discriminator's logits against "all real" or "all fake".

    The target is made like the prediction, so that any patch size works. Goodfellow et al., Generative Adversarial Nets
    (NeurIPS 2014), with the non-saturating form for the generator (section 3).

    Args:
        logits: any shape, before the sigmoid.
        real: what the logits should say.

    Returns:
        The mean, a scalar.
    """
    logits = logits.float()
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    return F.binary_cross_entropy_with_logits(logits, target)


def lsgan_loss(logits: Tensor, real: bool) -> Tensor:
    """Mean squared distance of a discriminator's logits from 1 or 0.

    Mao et al., Least Squares Generative Adversarial Networks (ICCV 2017), with a = 0 and b = c = 1.
    """
    logits = logits.float()
    return F.mse_loss(logits, torch.ones_like(logits) if real else torch.zeros_like(logits))


def hinge_loss(logits: Tensor, real: bool) -> Tensor:
    """What a discriminator is short of a margin of 1.

    Lim, Ye: Geometric GAN (2017); Park et al. (CVPR 2019), section 3. Args and result as of ``bce_gan_loss``.
    """
    logits = logits.float()
    return F.relu(1 - logits if real else 1 + logits).mean()


def hinge_generator_loss(logits: Tensor) -> Tensor:
    """The generator's side of the hinge loss: the higher the logits the better, without a margin."""
    return -logits.float().mean()


def feature_matching_loss(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """L1 between what discriminators see in the generated and in the real picture, layer for layer.

    Wang et al. (CVPR 2018), equation 4 and appendix: 4 / (n_layers + 1) for each layer and 1 / num_D for each scale.

    Args:
        fake: for each discriminator the features of each of its layers, the logits left out.
        real: the same for the real pictures; they get no gradients.
    """
    total = torch.zeros((), device=fake[0][0].device)
    for fakes, reals in zip(fake, real, strict=True):
        for one, other in zip(fakes, reals, strict=True):
            total = total + F.l1_loss(one.float(), other.detach().float()) * 4 / len(fakes) / len(fake)
    return total


def consistency_loss(generator: Callable[[Tensor], Tensor], given: Tensor, output: Tensor) -> Tensor:
    """L1 between what a generator makes of the same pictures as they are, and flipped and with a little noise.

    Laine, Aila: Temporal Ensembling for Semi-Supervised Learning (ICLR 2017), section 2.1, the Pi-model. It is not the
    cycle's consistency.

    Args:
        generator: pictures to pictures.
        given: (N, C, H, W) in [-1, 1].
        output: (N, C', H, W), what the generator made of it.
    """
    other = given.flip(-1) + CONSISTENCY_NOISE * torch.randn_like(given)
    return F.l1_loss(generator(other).flip(-1).float(), output.float())


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of N(mean, variance) from N(0, 1), summed over the code and averaged over the batch.

    Kingma, Welling, Auto-Encoding Variational Bayes (ICLR 2014), appendix B.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).flatten(1).sum(1).mean()
