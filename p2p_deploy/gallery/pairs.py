"""An input and its output, read from the disk again and made small enough for a page."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from p2p_deploy.errors import ItemFailed
from p2p_deploy.gallery.account import Entry
from p2p_deploy.media import EndOfStream, FrameSource, Item, is_video, open_source
from p2p_deploy.media.image.maps import Maps, read_map
from p2p_deploy.pixels import Pixels, resize, to_channels, to_depth

if TYPE_CHECKING:
    from p2p_deploy.media.video.source import VideoSource

# (longest side in pixels, quality), the first that fits its share of the page is taken for both pictures of a pair:
# a comparison of a good picture with a bad one would be about the page.
_SIZES = ((1024, 85), (1024, 75), (896, 70), (768, 65), (640, 60), (512, 55), (384, 50), (256, 45), (128, 40))
_THUMBNAIL = (400, 300, 75)  # width, height, quality


@dataclass(frozen=True, slots=True)
class Pair:
    """What the page shows of an input.

    Attributes:
        entry: what the record says of it.
        size: (height, width) of the output, pixels.
        thumbnail: the middle of both, the left half of it before, the right half after; a data URI like the others.
        before: the input, or None when it could not be read.
        after: the output.
        seconds: of a clip, when the frame is shown that was taken; None for a picture.
    """

    entry: Entry
    size: tuple[int, int]
    thumbnail: str
    before: str | None
    after: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture (H, W, C) uint8: grey, RGB or RGBA, and no larger than a page needs it; the size it was; its time."""

    image: Pixels
    size: tuple[int, int]
    seconds: Fraction | None = None


def read_pair(source: Path, folder: Path, entry: Entry, share: int, labels: bool) -> Pair | None:
    """Read an input and its output, of clips a frame in the middle of both.

    Args:
        source: the input, or the folder it is in.
        folder: the output folder.
        entry: what to read.
        share: bytes that the three pictures may take together.
        labels: whether the input is a map of classes.

    Returns:
        The pair, or None when the output is gone or cannot be read.
    """
    before_path = _inside(source / entry.name, source) if source.is_dir() else source
    after_path = _inside(Path(entry.output or ""), folder)
    if after_path is None:
        return None
    if before_path is not None and is_video(after_path) and not is_video(before_path):
        before_path = None
    try:
        if is_video(after_path):
            before, after = _clips(before_path, after_path, entry.frames)
        else:
            before, after = _pictures(before_path, after_path, labels)
    except (ItemFailed, EndOfStream, cv2.error):
        return None
    return _pair(entry, before, after, share)


def _inside(path: Path, folder: Path) -> Path | None:
    """``path`` if it is a file below ``folder``, which a record that was tampered with need not respect."""
    within = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 (links are followed)
    try:
        return path if within and path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return None


def _pictures(before: Path | None, after: Path, labels: bool) -> tuple[_Shot | None, _Shot]:
    found = None
    if before is not None:
        with contextlib.suppress(ItemFailed, EndOfStream, cv2.error):
            found = _shot(_in_colours(read_map(before))) if labels else _first(before)
    return found, _first(after)


def _clips(before: Path | None, after: Path, frames: int) -> tuple[_Shot | None, _Shot]:
    """The middle frames, or the first ones where seeking does not lead to the same frame of both."""
    if before is not None:
        for find in (_both_middles, _both_firsts):
            with contextlib.suppress(ItemFailed, EndOfStream, cv2.error):
                return find(before, after, frames)
    with contextlib.suppress(ItemFailed, EndOfStream), _opened_clip(after) as source:
        return None, _next_at(source, frames // 2 / source.info.rate)
    return None, _first(after)


def _both_middles(before: Path, after: Path, frames: int) -> tuple[_Shot, _Shot]:
    """A frame half-way through the output, and the frame that it was made from.

    Raises:
        ItemFailed: the frames that were found are not shown at the same time.
    """
    with _opened_clip(before) as source, _opened_clip(after) as result:
        frame_time = 1 / source.info.rate
        shot = _next_at(source, frames // 2 / source.info.rate)
        assert shot.seconds is not None
        made_of_it = _next_at(result, shot.seconds - frame_time / 2)
        assert made_of_it.seconds is not None
        if abs(made_of_it.seconds - shot.seconds) > frame_time / 2:
            raise ItemFailed(f"{after} has no frame at {float(shot.seconds):.3f} s.")
        return shot, made_of_it


def _both_firsts(before: Path, after: Path, frames: int) -> tuple[_Shot, _Shot]:
    return _first(before), _first(after)


@contextlib.contextmanager
def _opened_clip(path: Path) -> Iterator[VideoSource]:
    from p2p_deploy.media.video.source import VideoSource

    source = open_source(path)
    assert isinstance(source, VideoSource)
    with contextlib.closing(source):
        yield source


def _next_at(source: VideoSource, seconds: Fraction) -> _Shot:
    source.seek(seconds)
    return _next(source)


def _first(path: Path) -> _Shot:
    with contextlib.closing(open_source(path)) as source:
        return _next(source)


def _next(source: FrameSource) -> _Shot:
    frame, image_HWC = source.decode(Item(source.path, 0))
    image_HWC = to_depth(image_HWC, np.uint8)
    if frame.alpha is not None:
        alpha = to_depth(frame.alpha, np.uint8)
        if alpha.min() < 255:
            image_HWC = np.dstack([to_channels(image_HWC, 3), alpha])
    return _shot(image_HWC, frame.pts * frame.time_base if source.sequential else None)


def _shot(image_HWC: Pixels, seconds: Fraction | None = None) -> _Shot:
    return _Shot(_shrunk(image_HWC, _SIZES[0][0]), image_HWC.shape[:2], seconds)


def _in_colours(labels_HWC: Maps) -> Pixels:
    """A colour for each number, far from its neighbours', with the bits of the number as in Pascal VOC's palette."""
    numbers = labels_HWC[:, :, 0]
    colours = np.zeros((*numbers.shape, 3), np.uint8)
    for bit in range(24):
        colours[:, :, bit % 3] |= (numbers >> bit & 1).astype(np.uint8) << (7 - bit // 3)
    return colours


def _pair(entry: Entry, before: _Shot | None, after: _Shot, share: int) -> Pair:
    left = None
    if before is not None:  # an output may have been replaced by one of another size
        left = resize(before.image, *after.image.shape[:2])
    thumbnail = _thumbnail(left, after.image)
    images = [image for image in (left, after.image) if image is not None]
    for longest, quality in _SIZES:
        files = [_encoded(_shrunk(image, longest), quality) for image in images]
        if sum(map(len, files)) <= share - len(thumbnail):
            break
    uris = [_data_uri(data) for data in files]
    seconds = None if after.seconds is None else float(after.seconds)
    return Pair(entry, after.size, _data_uri(thumbnail), uris[0] if left is not None else None, uris[-1], seconds)


def _thumbnail(before: Pixels | None, after: Pixels) -> bytes:
    """The middle of a picture in the proportions of a thumbnail: left half before, right half after."""
    width, height, quality = _THUMBNAIL
    rows, columns = after.shape[:2]
    tall, wide = max(1, min(rows, columns * height // width)), max(1, min(columns, rows * width // height))
    window = np.s_[(rows - tall) // 2 :, (columns - wide) // 2 :]
    middle = after[window][:tall, :wide]
    if before is not None:
        channels = max(before.shape[2], after.shape[2])
        middle = _widened(middle, channels).copy()
        middle[:, : wide // 2] = _widened(before[window][:tall, : wide // 2], channels)
    return _encoded(resize(middle, min(tall, height), min(wide, width)), quality)


def _widened(image_HWC: Pixels, channels: int) -> Pixels:
    """Grey to RGB, and either to opaque RGBA."""
    if image_HWC.shape[2] == channels:
        return image_HWC
    rgb = to_channels(image_HWC, 3)
    return rgb if channels == 3 else np.dstack([rgb, np.full_like(rgb[:, :, :1], 255)])


def _shrunk(image_HWC: Pixels, longest: int) -> Pixels:
    height, width = image_HWC.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return resize(image_HWC, max(1, round(height * scale)), max(1, round(width * scale)))


def _encoded(image_HWC: Pixels, quality: int) -> bytes:
    """JPEG without loss of colour resolution; WebP where there is transparency."""
    if image_HWC.shape[2] == 4:
        rgba = cv2.cvtColor(image_HWC, cv2.COLOR_RGBA2BGRA)
        return cv2.imencode(".webp", rgba, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    bgr = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR) if image_HWC.shape[2] == 3 else image_HWC
    fine = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *fine])[1].tobytes()


def _data_uri(data: bytes) -> str:
    kind = "webp" if data.startswith(b"RIFF") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
