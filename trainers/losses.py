"""Losses shared by the systems."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    return F.binary_cross_entropy_with_logits(logits, target)
