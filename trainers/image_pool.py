"""The history of generated pictures that CycleGAN's discriminators are shown.

Shrivastava et al.: Learning from Simulated and Unsupervised Images through Adversarial Training (CVPR 2017), section
2.3; Zhu et al. (ICCV 2017), section 4: 50 pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Keeps ``size`` pictures; each that comes is, with probability 0.5, exchanged for one of them."""

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self._pictures: list[Tensor] = []

    def exchange(self, pictures_NCHW: Tensor) -> Tensor:
        """As many pictures as were given, some of them older; random numbers are torch's on the CPU."""
        shown = []
        for picture in pictures_NCHW.detach():
            if len(self._pictures) < self.size:
                self._pictures.append(picture.clone())
            elif self.size and torch.rand(()) < 0.5:
                index = int(torch.randint(self.size, ()))
                picture, self._pictures[index] = self._pictures[index], picture.clone()
            shown.append(picture)
        return torch.stack(shown)

    def state(self) -> list[Tensor]:
        """The pictures, for a checkpoint."""
        return [picture.cpu() for picture in self._pictures]

    def load(self, state: list[Tensor], device: Any) -> None:
        """Go on from ``state``."""
        self._pictures = [picture.to(device) for picture in state]
