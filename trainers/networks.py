"""What is done to any network before and during training."""

from __future__ import annotations

from torch import Tensor, nn
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


def plain(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network with the weights that others work out to, such as those under spectral norm."""
    training = [module for module in network.modules() if module.training]
    network.eval()  # or looking at a weight would change its spectral norm
    try:
        state = {key: value for key, value in network.state_dict().items() if ".parametrizations." not in f".{key}"}
        for name, module in network.named_modules():
            if parametrize.is_parametrized(module):
                for weight in module.parametrizations:
                    state[f"{name}.{weight}".lstrip(".")] = getattr(module, str(weight)).detach()
    finally:
        for module in training:
            module.training = True
    return state
