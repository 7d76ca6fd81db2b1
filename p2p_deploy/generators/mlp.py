"""The fully connected generator of GAN and CGAN: a latent vector, and with it a class, becomes a small picture.

Goodfellow et al.: Generative Adversarial Nets (NeurIPS 2014). Mirza, Osindero: Conditional Generative Adversarial Nets
(2014), section 3.2: the class is embedded and joined to the latent vector.

    z ──────────────┐
                    ├─ linear, ReLU ─ linear, ReLU ─ linear, tanh ─ picture
    class ─ embed ──┘      ngf            2 ngf        C · H · W
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from p2p_deploy.errors import SpecError

MAX_SIZE = 512  # from which on the last layer alone has 134 million weights, and a convolution is what is wanted


class MLP(nn.Module):
    """Latent vectors and one-hot classes (N, z_dim + classes) to pictures (N, out_channels, size, size) in [-1, 1].

    100-256-512-784 by default.

    Args:
        z_dim: length of the latent vector.
        out_channels: of the pictures.
        ngf: width of the first layer; the second has twice as many.
        size: height and width of the pictures, pixels.
        classes: how many there are to choose from; 0 for a network that is told none.
        embedding: length of the vector that a class becomes.

    Raises:
        SpecError: for sizes of which there is no network.
    """

    def __init__(
        self,
        z_dim: int = 100,
        out_channels: int = 1,
        *,
        ngf: int = 256,
        size: int = 28,
        classes: int = 0,
        embedding: int = 32,
    ) -> None:
        if min(z_dim, out_channels, ngf, embedding) < 1 or not 1 <= size <= MAX_SIZE or classes < 0:
            raise SpecError(
                f"An MLP draws pictures of 1 to {MAX_SIZE} pixels and has z_dim, ngf and embedding from 1 and classes "
                f"from 0 on; got size={size}, z_dim={z_dim}, ngf={ngf}, embedding={embedding}, classes={classes}."
            )
        super().__init__()
        self.z_dim, self.shape = z_dim, (out_channels, size, size)
        self.embed = nn.Linear(classes, embedding, bias=False) if classes else None
        self.layers = nn.Sequential(
            nn.Linear(z_dim + (embedding if classes else 0), ngf),
            nn.ReLU(),
            nn.Linear(ngf, 2 * ngf),
            nn.ReLU(),
            nn.Linear(2 * ngf, out_channels * size * size),
            nn.Tanh(),
        )
        self.size_multiple = self.min_size = self.shape[1]

    @property
    def fixed_size(self) -> tuple[int, int]:
        """The only (height, width) it gives, pixels."""
        return self.shape[1], self.shape[2]

    def forward(self, x: Tensor) -> Tensor:
        """Draw."""
        if self.embed:
            x = torch.cat([x[:, : self.z_dim], self.embed(x[:, self.z_dim :])], dim=1)
        return self.layers(x).unflatten(1, self.shape)
