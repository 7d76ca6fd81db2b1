"""Between the pixels of a video, YUV of many kinds, and RGB.

Swscale knows every format and is slow where it rounds exactly (and visibly wrong where it does not). The three formats
that nearly every video has are converted by OpenCV, to within a level of the same colours, in a fraction of the time.
"""

from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from p2p_deploy.pixels import DepthType, Pixels

# AVColorSpace (what streams are tagged with) -> the matrix swscale is told to use
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
# Shares of red and blue in the luma of each matrix.
_LUMA = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
# 8-bit planar formats -> by how much chroma is smaller, down and across.
_PLANAR = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv422p": (1, 2),
    "yuvj422p": (1, 2),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def usual_matrix(height: int) -> Colorspace:
    """What readers assume of pictures without a tag."""
    return Colorspace.ITU709 if height >= 720 else Colorspace.ITU601


class ToRgb:
    """Turns the frames of one video into RGB; keeps its working memory from one to the next."""

    def __init__(self, matrix: Colorspace, deep: bool = False) -> None:
        """Prepare for ``matrix``; ``deep`` asks for uint16 instead of uint8."""
        self._matrix = matrix
        self._deep = deep
        self._swscale = VideoReformatter()
        self._work = np.empty((0, 0, 3), np.uint8)
        self._rows = {full: _to_rgb_rows(matrix, full) for full in (False, True)}

    def __call__(self, frame: Any) -> Pixels:
        """The picture as (H, W, 3), uint8 or uint16."""
        planes = frame.planes
        steps = None if self._deep else _chroma_steps(frame.format.name, frame.height, frame.width)
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        if steps is None or planes[0].line_size < 0:  # stored upside down
            picture = self._swscale.reformat(
                frame,
                format="rgb48le" if self._deep else "rgb24",
                src_colorspace=self._matrix,
                src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=_EXACT,
                threads=1,
            )
            depth = np.uint16 if self._deep else np.uint8
            return _view(picture.planes[0], (frame.height, frame.width, 3), depth)
        height, width = frame.height, frame.width
        if self._work.shape[:2] != (height, width):
            self._work = np.empty((height, width, 3), np.uint8)
        parts = [_view(plane, shape) for plane, shape in zip(planes, _shapes(height, width, steps), strict=True)]
        if steps != (1, 1):
            parts[1:] = [cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in parts[1:]]
        cv2.merge(parts, dst=self._work)
        rgb_HWC: Pixels = cv2.transform(self._work, self._rows[full])
        return rgb_HWC


class FromRgb:
    """Turns RGB pictures of one size into the frames that an encoder takes."""

    def __init__(self, matrix: Colorspace, full_range: bool, pixel_format: str) -> None:
        self._matrix = matrix
        self._range = ColorRange.JPEG if full_range else ColorRange.MPEG
        self._format = pixel_format
        self._swscale = VideoReformatter()
        self._work = np.empty((0, 0, 3), np.uint8)
        self._rows = _from_rgb_rows(matrix, full_range)

    def __call__(self, pixels_HWC: Pixels) -> Any:
        """A frame with the pixels of (H, W, 3), uint8 or uint16."""
        height, width = pixels_HWC.shape[:2]
        steps = _chroma_steps(self._format, height, width) if pixels_HWC.itemsize == 1 else None
        if steps is None:
            return self._swscale.reformat(
                av.VideoFrame.from_ndarray(pixels_HWC, format="rgb48le" if pixels_HWC.itemsize == 2 else "rgb24"),
                format=self._format,
                dst_colorspace=self._matrix,
                src_color_range=ColorRange.JPEG,
                dst_color_range=self._range,
                interpolation=_EXACT,
                threads=1,
            )
        if self._work.shape[:2] != (height, width):
            self._work = np.empty((height, width, 3), np.uint8)
        cv2.transform(pixels_HWC, self._rows, dst=self._work)
        frame = av.VideoFrame(width, height, self._format)
        for index, (plane, shape) in enumerate(zip(frame.planes, _shapes(height, width, steps), strict=True)):
            part = _view(plane, shape)
            if shape == (height, width):
                cv2.extractChannel(self._work, index, dst=part)
            else:
                whole = cv2.extractChannel(self._work, index)
                cv2.resize(whole, shape[::-1], dst=part, interpolation=cv2.INTER_AREA)
        return frame


def _chroma_steps(pixel_format: str, height: int, width: int) -> tuple[int, int] | None:
    """By how much chroma is smaller, down and across; None where the conversion is swscale's work."""
    steps = _PLANAR.get(pixel_format)
    return None if steps is None or height % steps[0] or width % steps[1] else steps


def _shapes(height: int, width: int, steps: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    chroma = (height // steps[0], width // steps[1])
    return (height, width), chroma, chroma


def _view(plane: Any, shape: tuple[int, ...], depth: DepthType = np.uint8) -> NDArray[Any]:
    """A plane as an array over FFmpeg's memory, which lives as long as the array does."""
    size = np.dtype(depth).itemsize
    strides = (plane.line_size, size) if len(shape) == 2 else (plane.line_size, shape[2] * size, size)
    return np.ndarray(shape, depth, plane, strides=strides)


def _from_rgb_rows(matrix: Colorspace, full: bool) -> NDArray[np.float64]:
    """Y, U and V as sums of R, G, B and 1: (3, 4)."""
    red, blue = _LUMA[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    chroma_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    chroma_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    rows = np.column_stack([np.stack([luma, chroma_blue, chroma_red]), [0, 128, 128]])
    if not full:
        rows[:, :3] *= np.array([[219], [224], [224]]) / 255
        rows[0, 3] = 16
    return rows


def _to_rgb_rows(matrix: Colorspace, full: bool) -> NDArray[np.float64]:
    """R, G and B as sums of Y, U, V and 1: (3, 4)."""
    rows = _from_rgb_rows(matrix, full)
    inverse = np.linalg.inv(rows[:, :3])
    return np.column_stack([inverse, -inverse @ rows[:, 3]])
