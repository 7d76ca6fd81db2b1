"""How held-out pictures are judged: by their pixels, and by networks whose weights are given."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanMetric, Metric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from p2p_deploy.checkpoints.reading import read_file
from p2p_deploy.errors import DataError
from trainers import vgg
from trainers.inception import read_inception
from trainers.options import SAVE_WEIGHTS, TrainingOptions
from trainers.weights import read_weights

BETTER_WHEN_LESS = ("l1", "lpips", "fid", "kid")
KID_SUBSET = 50  # pictures, or as many as there are
# Of LPIPS: VGG16 up to relu5_3, and where relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 are, as torchvision counts.
VGG16 = (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8)
LPIPS_LAYERS = (3, 8, 15, 22, 29)


class LPIPS(nn.Module):
    """How unlike two pictures look: weighted squares between the directions of what five layers of VGG16 see.

    Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (CVPR
    2018), equation 1, version 0.1. The weights of the channels come with torchmetrics.

    Args:
        width: of the first layer; VGG16 has 64.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.features = vgg.stack(VGG16, width)
        self.register_buffer("shift", torch.tensor((-0.030, -0.088, -0.188)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor((0.458, 0.448, 0.450)).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.heads: list[Tensor] = []

    def see(self, pictures_NCHW: Tensor) -> list[Tensor]:
        """What the five layers give for (N, 3, H, W) in [-1, 1], each position of length 1."""
        x = (pictures_NCHW - self.shift) / self.scale
        seen = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in LPIPS_LAYERS:
                seen.append(x / (x.square().sum(dim=1, keepdim=True) + 1e-8).sqrt())
        return seen

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """The distance of each pair, (N,), of (N, 3, H, W) in [-1, 1] each."""
        distances = [
            ((a - b).square() * head.to(a.device)).sum(dim=1).mean(dim=(1, 2))
            for head, a, b in zip(self.heads, self.see(one), self.see(other), strict=True)
        ]
        return torch.stack(distances).sum(dim=0)


def read_lpips(path: Path) -> LPIPS:
    """LPIPS with the weights of torchvision's VGG16. Raises like ``read_weights``."""
    network = read_weights(path, LPIPS, "torchvision's VGG16", SAVE_WEIGHTS.format(name="vgg16")).eval()
    folder = Path(str(torchmetrics.__file__)).parent / "functional" / "image" / "lpips_models"
    heads = read_file(folder / "vgg.pth")
    network.heads = [heads[f"lin{index}.model.1.weight"] for index in range(len(LPIPS_LAYERS))]
    return network


def as_written(pictures: Tensor) -> Tensor:
    """What a file of 8 bits would hold: published distances are of such."""
    return ((pictures + 1) * 127.5).round() / 127.5 - 1


class Metrics:
    """All measures that there are for a system, on ``device``; of this process only, since the others do not measure.

    Args:
        options: with the files of weights.
        paired: whether each output has one right answer.
        device: of the pictures.

    Raises:
        CheckpointError, DataError: a file of weights cannot be used; or ``options.best`` names none of the measures.

    Attributes:
        best: the measure that ``best.pt`` is chosen by; None where there is none.
    """

    def __init__(self, options: TrainingOptions, *, paired: bool, device: torch.device) -> None:
        alone: dict[str, Any] = {"sync_on_compute": False}
        self._pixels: dict[str, Metric] = {}
        if paired:
            self._pixels = {
                "l1": MeanAbsoluteError(**alone),
                "psnr": PeakSignalNoiseRatio(data_range=255.0, **alone),
                "ssim": StructuralSimilarityIndexMeasure(data_range=255.0, **alone),
            }
        self._lpips = read_lpips(Path(options.lpips)).to(device) if options.lpips and paired else None
        self._mean = MeanMetric(**alone)
        self._distances: dict[str, Metric] = {}
        if options.inception:
            network = read_inception(Path(options.inception))
            with warnings.catch_warnings():  # about the memory that 2048 numbers for each picture take
                warnings.simplefilter("ignore", UserWarning)
                self._distances = {
                    "fid": FrechetInceptionDistance(feature=network, **alone),
                    "kid": KernelInceptionDistance(feature=network, subset_size=KID_SUBSET, **alone),
                }
        for metric in (*self._pixels.values(), self._mean, *self._distances.values()):
            metric.to(device)
        names = [*self._pixels, *(["lpips"] if self._lpips else []), *self._distances]
        if options.best and options.best not in names:
            raise DataError(
                f"best={options.best} is not measured here; expected one of {', '.join(names) or 'none'}. lpips wants "
                "`lpips=FILE`, and fid and kid want `inception=FILE`; l1, psnr, ssim and lpips want pairs."
            )
        self.best = options.best or (names[0] if names else None)
        self._seen = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take a batch into account, (N, C, H, W) in [-1, 1] each."""
        outputs, targets = (each.float().clamp(-1, 1).contiguous() for each in (outputs, targets))
        self._seen += len(outputs)
        for metric in self._pixels.values():
            metric.update((outputs + 1) * 127.5, (targets + 1) * 127.5)
        outputs, targets = (each.expand(-1, 3, -1, -1) for each in (outputs, targets))
        if self._lpips:
            self._mean.update(self._lpips(outputs, targets))
        for metric in self._distances.values():
            metric.update(as_written(targets), real=True)
            metric.update(as_written(outputs), real=False)

    def compute(self) -> dict[str, float]:
        """All measures of what was looked at, L1 in levels of 255 and PSNR in dB; and begin anew.

        Raises:
            DataError: there are too few pictures for a distance between distributions.
        """
        if not self._seen:
            return {}
        if self._distances and self._seen < 2:
            raise DataError("fid and kid are distances between many pictures, and 1 is held out. Add some.")
        found = {name: float(metric.compute()) for name, metric in self._pixels.items()}
        if self._lpips:
            found["lpips"] = float(self._mean.compute())
        for name, metric in self._distances.items():
            if isinstance(metric, KernelInceptionDistance):
                metric.subset_size = min(KID_SUBSET, self._seen)
            value = metric.compute()
            found[name] = float(value[0] if isinstance(value, tuple) else value)
        self._seen = 0
        for metric in (*self._pixels.values(), self._mean, *self._distances.values()):
            metric.reset()
        return found
