"""pix2pixHD's feature encoder: what pictures of the same labels differ by, one vector for each instance.

Wang et al. (CVPR 2018), section 3.4. It learns together with the generator. What is deployed has no picture to encode:
it takes for each class the average of what the encoder found lately; or for a style, which is one vector for the whole
picture, the average of all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from p2p_deploy.generators import ResNet, Styled

WIDTH = 16
# Of each class, the average forgets what is older than some hundred batches: by then the encoder is another one.
MEMORY = 100


class FeatureEncoder(nn.Module):
    """Pictures (N, 3, H, W) and instances (N, H, W, 1) to features (N, F, H, W), constant over each instance.

    Args:
        classes: how many labels there are.
        features: F.
        n_downs: how often the size is halved on the way.
    """

    batches: Tensor

    def __init__(self, classes: int, features: int, n_downs: int) -> None:
        super().__init__()
        self.network = ResNet(3, features, ngf=WIDTH, n_blocks=0, n_downs=n_downs)
        self.register_buffer("batches", torch.zeros(classes))

    def forward(self, pictures: Tensor, instances: Tensor) -> Tensor:
        """Encode, and average over every instance of every picture."""
        found = self.network(pictures)
        # the same number in two pictures is two instances
        shift = torch.arange(len(instances), device=instances.device).view(-1, 1, 1, 1) << 32
        numbers, places = torch.unique(instances.long() + shift, return_inverse=True)
        averages = average(found, places, len(numbers))[0]
        return averages[places[..., 0]].permute(0, 3, 1, 2).to(found.dtype)

    @torch.no_grad()
    def note(self, features: Tensor, labels: Tensor, lookup: nn.Conv2d) -> None:
        """Bring the table of each class, the weight of ``lookup``, nearer to its features in a batch.

        Args:
            features: (N, F, H, W).
            labels: (N, H, W, 1), from 0.
            lookup: from classes to features.
        """
        averages, counts = average(features, labels.long(), len(self.batches))
        seen = counts > 0
        self.batches += seen
        share = torch.where(seen, 1 / self.batches.clamp(1, MEMORY), 0)
        table = lookup.weight[:, :, 0, 0]
        table += share * (averages.T - table)


class StyleEncoder(nn.Module):
    """Pictures (N, 3, H, W) and instances (N, H, W, 1) to styles (N, S): the mean of the vectors of all instances.

    Args:
        style: S.
        n_downs: how often the size is halved on the way.
    """

    batches: Tensor
    mean: Tensor

    def __init__(self, style: int, n_downs: int) -> None:
        super().__init__()
        self.network = ResNet(3, style, ngf=WIDTH, n_blocks=0, n_downs=n_downs)
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(style))

    def forward(self, pictures: Tensor, instances: Tensor | None) -> Tensor:
        """Encode; without instances all of a picture is one."""
        found = self.network(pictures)
        if instances is None:
            return found.mean(dim=(2, 3))
        styles = []
        for one, numbers in zip(found, instances, strict=True):  # a small thing says as much as a large one
            places = torch.unique(numbers.long(), return_inverse=True)[1]
            styles.append(average(one[None], places[None], int(places.max()) + 1)[0].mean(dim=0))
        return torch.stack(styles).to(found.dtype)

    @torch.no_grad()
    def note(self, styles: Tensor, generator: Styled) -> None:
        """Bring the style of what is deployed nearer to those of a batch, (N, S)."""
        self.batches += 1
        self.mean += (styles.float().mean(dim=0) - self.mean) / self.batches.clamp(max=MEMORY)
        generator.set_average(self.mean)


def average(features: Tensor, places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means of features (N, F, H, W) over each of ``count`` places (N, H, W, 1), and how large those are.

    Returns:
        (count, F) float32, and (count,) pixels.
    """
    flat, rows = places.flatten(), features.permute(0, 2, 3, 1).flatten(0, 2).float()
    sums = torch.zeros(count, rows.shape[1], device=rows.device).index_add(0, flat, rows)
    counts = torch.bincount(flat, minlength=count)
    return sums / counts.clamp(min=1)[:, None], counts
