"""Pixel work outside the network, in NumPy and OpenCV; the trainers use the same functions as the runner.

An image here is (H, W, C) uint8, or uint16 where it has that depth, with C = 3 in RGB order or C = 1 for grey. A *row*
is one image's place in a batch, a view of memory that somebody else owns; its shape, element type and range are those
of an ``ImageSpec``.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_deploy.spec import ImageSpec

Pixels = NDArray[np.unsignedinteger[Any]]
Row = NDArray[Any]
DepthType = type[np.uint8] | type[np.uint16]


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
        grey_HW: Pixels = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)
        return grey_HW[:, :, None]
    if channels == 3 and image_HWC.shape[2] == 1:
        rgb_HWC: Pixels = cv2.cvtColor(image_HWC, cv2.COLOR_GRAY2RGB)
        return rgb_HWC
    raise ValueError(f"cannot convert {image_HWC.shape[2]} channels to {channels}")


def fit_into(image_HWC: Pixels, row: Row, spec: ImageSpec) -> None:
    """Write an image of any size, grey or RGB, into ``row``, resizing and converting as ``spec`` needs.

    The colour conversion comes before enlarging and after shrinking, so that it touches the fewer pixels.
    """
    height, width = spec.sides((1, *row.shape))
    if image_HWC.shape[0] * image_HWC.shape[1] <= height * width:
        fitted_HWC = resize(to_channels(image_HWC, spec.channels), height, width)
    else:
        fitted_HWC = to_channels(resize(image_HWC, height, width), spec.channels)
    row[...] = to_row(fitted_HWC, spec)


def to_row(image_HWC: Pixels, spec: ImageSpec) -> Row:
    """An image of the right size and channels as ``spec`` wants it; may be the image itself."""
    return to_depth(image_HWC, np.uint8) if spec.dtype == "uint8" else to_values(image_HWC, spec.value_range)


def from_row(row: Row, spec: ImageSpec, depth: DepthType = np.uint8) -> Pixels:
    """The image (H, W, C) that a row of the output is; may be the row itself. See ``restore``."""
    return row if spec.dtype == "uint8" else from_values(row, spec.value_range, depth)


def restore(row: Row, height: int, width: int, spec: ImageSpec, depth: DepthType = np.uint8) -> Pixels:
    """Bring a network's output back to an image of the source's height x width. May return ``row`` itself, not a copy.

    Args:
        row: one image as ``spec`` describes it.
        height: pixels.
        width: pixels.
        spec: what the row is.
        depth: element type that values become; rows that are uint8 already stay that.

    Raises:
        ValueError: values that are NaN or infinite.
    """
    return resize(from_row(row, spec, depth), height, width)


def to_values(images_HWC: Pixels, value_range: tuple[float, float]) -> NDArray[np.float32]:
    """(..., H, W, C) of 8 or 16 bits to (..., C, H, W) float32, black and white at the ends of ``value_range``."""
    low, high = value_range
    scale = np.float32((high - low) / np.iinfo(images_HWC.dtype).max)
    return np.moveaxis(images_HWC.astype(np.float32) * scale + np.float32(low), -1, -3)


def from_values(
    values_CHW: NDArray[np.float32], value_range: tuple[float, float], depth: DepthType = np.uint8
) -> Pixels:
    """(..., C, H, W) float32 in ``value_range`` to (..., H, W, C), rounded half to even and clamped.

    Raises:
        ValueError: values that are NaN or infinite.
    """
    if not np.isfinite(values_CHW).all():
        raise ValueError("the network gave values that are NaN or infinite")
    low, high = value_range
    largest = np.iinfo(depth).max
    levels = (np.moveaxis(values_CHW, -3, -1) - np.float32(low)) * np.float32(largest / (high - low))
    images_HWC: Pixels = np.clip(np.rint(levels), 0, largest).astype(depth)
    return images_HWC


def to_depth(image_HWC: Pixels, depth: DepthType) -> Pixels:
    """Convert between 8 and 16 bits a channel, black and white staying what they are."""
    if image_HWC.dtype == depth:
        return image_HWC
    if depth is np.uint16:
        return image_HWC.astype(np.uint16) * np.uint16(257)
    return ((image_HWC.astype(np.uint32) + 128) // 257).astype(np.uint8)
