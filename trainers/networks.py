"""What is done to any network before and during training."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils import parametrize


def init_weights(network: nn.Module) -> nn.Module:
    """N(0, 0.02) for convolutions, N(1, 0.02) for BatchNorm scales, 0 for biases (Isola et al., appendix 6.2).

    Also of CycleGAN and pix2pixHD.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


def plain(network: nn.Module) -> nn.Module:
    """A copy whose weights are what they work out to, such as those under spectral norm; itself where all are plain."""
    found = [name for name, module in network.named_modules() if parametrize.is_parametrized(module)]
    if not found:
        return network
    network = copy.deepcopy(network).eval()  # in eval mode, or looking at a weight would change its spectral norm
    for name in found:
        module = network.get_submodule(name)
        for weight in list(module.parametrizations):  # type: ignore[arg-type, union-attr]
            parametrize.remove_parametrizations(module, str(weight))
    return network
