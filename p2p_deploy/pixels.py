"""Pixel work outside the network, in NumPy and OpenCV; the trainers use the same functions as the runner.

Everything here is (H, W, C) uint8 with C = 3 in RGB order or C = 1 for grey. A *row* is one frame's place in a batch,
an (H, W, C) view of memory that somebody else owns.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def resize(image_HWC: Pixels, height: int, width: int) -> Pixels:
    """Resize to height x width, changing the aspect ratio if need be.

    Sides that shrink are averaged by area, sides that grow are bicubic, each in a pass of its own when the image has
    one of each: OpenCV does not widen its bicubic kernel and would alias, and its area mode does not average an image
    that grows in one direction. An image of the right size is returned as it is.
    """
    source_height, source_width = image_HWC.shape[:2]
    if (source_height, source_width) == (height, width):
        return image_HWC
    smaller = (min(height, source_height), min(width, source_width))
    resized = image_HWC
    if smaller != (source_height, source_width):
        resized = cv2.resize(resized, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_CUBIC)
    return resized.reshape(height, width, -1)  # OpenCV drops a channel axis of length 1


def to_channels(image_HWC: Pixels, channels: int) -> Pixels:
    """Convert between grey (1) and RGB (3) with the BT.601 luma that cv2 uses; other counts raise ValueError."""
    if image_HWC.shape[2] == channels:
        return image_HWC
    if channels == 1 and image_HWC.shape[2] == 3:
        return cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)[:, :, None]
    if channels == 3 and image_HWC.shape[2] == 1:
        return cv2.cvtColor(image_HWC, cv2.COLOR_GRAY2RGB)
    raise ValueError(f"cannot convert {image_HWC.shape[2]} channels to {channels}")


def fit_into(image_HWC: Pixels, row_HWC: Pixels) -> None:
    """Write an image of any size, grey or RGB, into ``row_HWC``, resizing and converting as the row needs.

    The colour conversion comes before enlarging and after shrinking, so that it touches the fewer pixels.
    """
    height, width, channels = row_HWC.shape
    if image_HWC.shape[0] * image_HWC.shape[1] <= height * width:
        row_HWC[...] = resize(to_channels(image_HWC, channels), height, width)
    else:
        row_HWC[...] = to_channels(resize(image_HWC, height, width), channels)


def restore(row_HWC: Pixels, height: int, width: int) -> Pixels:
    """Bring a network's output back to the source's height x width. May return ``row_HWC`` itself, not a copy."""
    return resize(row_HWC, height, width)
