"""The quality gate: does an artefact give the checkpoint's pictures? Asked on real images, never on noise alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy import latents, pixels
from p2p_deploy.backends.base import Model
from p2p_deploy.errors import ExportError, InputError, ItemFailed, require
from p2p_deploy.media.image import maps
from p2p_deploy.media.image.files import SUFFIXES, read_image
from p2p_deploy.pixels import Pixels
from p2p_deploy.reports import Report
from p2p_deploy.spec import ModelSpec

Batch = tuple[np.ndarray, ...]  # one array for each of a network's inputs
PHOTOS = Path(__file__).parent / "photos"
MAX_CHECK_IMAGES = 64
# One grey level covers the rounding of values that lie on the boundary between two.
FP32_MAX_LEVELS = 1
# Below this standard deviation of the reference any wrong network would pass.
FLAT_LEVELS = 2.0


@dataclass(frozen=True)
class Quality(Report):
    """How far an artefact is from the checkpoint on the same images, in grey levels (0 to 255) of the output.

    Attributes:
        images: how many.
        max_levels: largest difference at any pixel and channel.
        mean_levels: mean absolute difference.
        psnr_db: peak signal-to-noise ratio over all images, peak 255; infinite when equal.
        ssim: structural similarity, mean over the images (Wang et al., IEEE TIP 2004); None below 7 x 7 pixels.
        non_finite: values that are NaN or infinite anywhere in the network; None where nobody can look inside.
        first_non_finite: the first module that gave one, or None.
        reference_std: standard deviation of the checkpoint's output; near 0 means that the comparison says little.
    """

    images: int
    max_levels: int
    mean_levels: float
    psnr_db: float
    ssim: float | None
    non_finite: int | None
    first_non_finite: str | None
    reference_std: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, rounded to what they mean; an infinite PSNR becomes None."""
        values = super().to_dict()
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}

    def failure(self, *, exact: bool, min_psnr: float) -> str | None:
        """Why this is not good enough, or None.

        Args:
            exact: hold it against ``FP32_MAX_LEVELS`` instead of ``min_psnr``.
            min_psnr: decibels.
        """
        if self.non_finite:
            return f"{self.non_finite} values are NaN or infinite, first in {self.first_non_finite}"
        if exact and self.max_levels > FP32_MAX_LEVELS:
            return f"{self}; expected at most {FP32_MAX_LEVELS} grey level"
        if not exact and not self.psnr_db >= min_psnr:  # so that NaN, which compares with nothing, fails
            return f"{self}; expected at least {min_psnr:g} dB"
        return None

    def __str__(self) -> str:
        psnr = f"{self.psnr_db:.1f} dB" if math.isfinite(self.psnr_db) else "equal"
        ssim = f", SSIM {self.ssim:.4f}" if self.ssim is not None else ""
        levels = f"max {self.max_levels}, mean {self.mean_levels:.4f} grey levels"
        return f"{levels}, PSNR {psnr}{ssim}, on {self.images} images"


def check_inputs(spec: ModelSpec, folder: Path | None = None) -> Batch:
    """What to judge a network on: the files of ``folder``, or the photographs that ship with the package.

    A network that takes labels is given label maps of the folder, or maps that are drawn after the photographs; the
    instances are the connected regions of each class. One that takes latent vectors is given some, always the same, and
    with them every class.

    Returns:
        One array for each input, at most ``MAX_CHECK_IMAGES`` files in order of name, fitted to the model.

    Raises:
        InputError: the folder has no images, or one that cannot be used, or the network takes none.
    """
    if spec.input.is_vector:
        if folder:
            raise InputError(
                f"{spec.name} draws pictures and takes none, so {folder} cannot be used. Leave out `check`."
            )
        return next(latents.draw(spec, 0, max(MAX_CHECK_IMAGES, spec.inputs[-1].classes or 0)))
    files = sorted(path for path in (folder or PHOTOS).glob("*") if path.suffix.lower() in SUFFIXES)[:MAX_CHECK_IMAGES]
    if not files:
        raise InputError(f"{folder} holds no images to check with; expected a folder of {' '.join(SUFFIXES)}.")
    inputs = tuple(np.empty((len(files), *image.shape(*spec.working_size)), image.dtype) for image in spec.inputs)
    for path, *rows in zip(files, *inputs, strict=True):
        try:
            if spec.input.kind == "image":
                pixels.fit_into(read_image(path)[0], rows[0], spec.input)
            elif folder:
                maps.fit_into(maps.with_regions(maps.read_labels(path, spec.input.classes or 0)), rows)
            else:
                maps.fit_into(maps.with_regions(maps.draw_labels(read_image(path)[0], spec.input.classes or 0)), rows)
        except ItemFailed as exc:
            raise InputError(f"An image to check with cannot be used: {exc}") from exc
    return inputs


def on_frames(model: Model) -> Callable[..., Pixels]:
    """A model as a function that gives uint8 frames (N, H, W, C), whatever form it takes and gives images in."""
    spec = model.spec
    if spec.output.dtype == "uint8":
        return model

    def run(*inputs: np.ndarray) -> Pixels:
        if spec.input.kind == "image" and spec.input.dtype == "float32":
            inputs = (pixels.to_values(inputs[0], spec.input.value_range),)
        outputs = model(*inputs)
        try:
            return pixels.from_values(outputs, spec.output.value_range)
        except ValueError as exc:
            raise ExportError(f"{exc}, in {model.name} on {model.device}.") from exc

    return run


def compare(expected_NHWC: Pixels, candidate: Callable[..., Pixels], inputs: Batch, emulation: Any = None) -> Quality:
    """Run ``candidate`` on each image, one at a time, and hold its outputs against the checkpoint's.

    Args:
        expected_NHWC: the checkpoint's outputs, (N, H, W, C) uint8.
        candidate: one array for each input, with one image in it, to (1, H, W, C) uint8.
        inputs: what both are run on, see ``check_inputs``.
        emulation: where the non-finite counts come from: an ``Emulation``, or None.
    """
    outputs = np.concatenate([candidate(*(array[None] for array in one)) for one in zip(*inputs, strict=True)])
    difference = np.abs(outputs.astype(np.int16) - expected_NHWC)
    mse = float(np.mean(np.square(difference, dtype=np.float64)))
    return Quality(
        images=len(outputs),
        max_levels=int(difference.max()),
        mean_levels=float(difference.mean()),
        psnr_db=10 * math.log10(255**2 / mse) if mse else math.inf,
        ssim=_ssim(expected_NHWC, outputs),
        non_finite=None if emulation is None else sum(emulation.non_finite.values()),
        first_non_finite=None if emulation is None else emulation.first,
        reference_std=float(expected_NHWC.std()),
    )


def _ssim(expected_NHWC: Pixels, outputs_NHWC: Pixels) -> float | None:
    if min(expected_NHWC.shape[1:3]) < 7:
        return None
    metrics = require("skimage.metrics", "export", "Comparing pictures")
    pairs = zip(expected_NHWC, outputs_NHWC, strict=True)
    return float(np.mean([metrics.structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in pairs]))
