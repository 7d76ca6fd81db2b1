"""What is done to any network before and during training."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

POWER_STEPS = 15  # as many as torch takes for weights it sees for the first time


def init_weights(network: nn.Module) -> nn.Module:
    """N(0, 0.02) for convolutions, N(1, 0.02) for BatchNorm scales, 0 for biases (Isola et al., appendix 6.2).

    Also of CycleGAN and pix2pixHD.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # under spectral norm, what is called the weight is worked out of the one that learns
            parametrized = parametrize.is_parametrized(module, "weight")
            weight = module.get_parameter("parametrizations.weight.original" if parametrized else "weight")
            nn.init.normal_(weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    settle(network)
    return network


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Find the largest singular values of weights under spectral norm anew, where they changed by more than a step."""
    training = network.training
    network.train()
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            for _ in range(POWER_STEPS):
                _ = module.weight  # in train mode, looking at it is a step of the power method
    network.train(training)


def plain(network: nn.Module) -> nn.Module:
    """A copy whose weights are what they work out to, such as those under spectral norm; itself where all are plain."""
    found = [name for name, module in network.named_modules() if parametrize.is_parametrized(module)]
    if not found:
        return network
    network = copy.deepcopy(network)
    settle(network)  # an average of weights has averages of singular vectors, which are none
    network.eval()
    for name in found:
        module = network.get_submodule(name)
        weights = {key: getattr(module, key).detach() for key in module.parametrizations}  # type: ignore[union-attr]
        # not torch's remove_parametrizations: it changes the class, which a copy shares with what it was copied from
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
        for key, weight in weights.items():
            setattr(module, key, nn.Parameter(weight))
    return network
