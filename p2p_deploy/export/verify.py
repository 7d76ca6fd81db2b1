"""Does an artefact give the checkpoint's pictures? Asked on real photographs before an export counts as done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy import pixels
from p2p_deploy.media.images import read_image
from p2p_deploy.spec import ModelSpec

PHOTOS = Path(__file__).parent / "photos"
# One grey level covers the rounding of values that lie on the boundary between two.
FP32_MAX_LEVELS = 1
FP16_MIN_PSNR_DB = 40.0
# Below this standard deviation of the reference any wrong network would pass.
FLAT_LEVELS = 2.0


@dataclass(frozen=True)
class Comparison:
    """How far two runtimes are apart on the same photographs, in grey levels (0 to 255) of the output.

    Attributes:
        images: how many photographs.
        max_levels: largest difference at any pixel and channel.
        mean_levels: mean absolute difference.
        psnr_db: peak signal-to-noise ratio over all photographs, peak 255; infinite when equal.
        reference_std: standard deviation of the reference's output; near 0 means that the comparison says little.
    """

    images: int
    max_levels: int
    mean_levels: float
    psnr_db: float
    reference_std: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an infinite PSNR becomes None."""
        return {**asdict(self), "psnr_db": self.psnr_db if math.isfinite(self.psnr_db) else None}

    def __str__(self) -> str:
        psnr = f"{self.psnr_db:.1f} dB" if math.isfinite(self.psnr_db) else "equal"
        return (
            f"max {self.max_levels}, mean {self.mean_levels:.4f} grey levels, PSNR {psnr}, on {self.images} photographs"
        )


def check_photos(spec: ModelSpec) -> pixels.Pixels:
    """The photographs that ship with the package, fitted to the model: (8, H, W, C) uint8."""
    height, width = spec.working_size
    photos = sorted(PHOTOS.glob("*.jpg"))
    frames_NHWC = np.empty((len(photos), height, width, spec.input.channels), np.uint8)
    for row_HWC, path in zip(frames_NHWC, photos, strict=True):
        pixels.fit_into(read_image(path)[0], row_HWC)
    return frames_NHWC


def compare(
    reference: Callable[[pixels.Pixels], pixels.Pixels],
    candidate: Callable[[pixels.Pixels], pixels.Pixels],
    frames_NHWC: pixels.Pixels,
) -> Comparison:
    """Run both on each frame, one at a time, and compare their uint8 outputs."""
    outputs = [(reference(frame[None]), candidate(frame[None])) for frame in frames_NHWC]
    expected = np.concatenate([pair[0] for pair in outputs]).astype(np.int16)
    difference = np.abs(np.concatenate([pair[1] for pair in outputs]).astype(np.int16) - expected)
    mse = float(np.mean(np.square(difference, dtype=np.float64)))
    return Comparison(
        images=len(outputs),
        max_levels=int(difference.max()),
        mean_levels=float(difference.mean()),
        psnr_db=10 * math.log10(255**2 / mse) if mse else math.inf,
        reference_std=float(expected.std()),
    )
