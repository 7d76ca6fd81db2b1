"""Where frames come from and where they go."""

from __future__ import annotations

from pathlib import Path

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import raw_frames
from p2p_deploy.media.base import EndOfStream, Frame, FrameSink, FrameSource, Item, ReadOptions, WriteOptions
from p2p_deploy.media.containers import CONTAINERS, READ_ONLY
from p2p_deploy.media.image import files

IMAGE_SUFFIXES = files.SUFFIXES
VIDEO_SUFFIXES = (*CONTAINERS, *READ_ONLY)

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "EndOfStream",
    "Frame",
    "FrameSink",
    "FrameSource",
    "Item",
    "ReadOptions",
    "WriteOptions",
    "is_video",
    "open_sink",
    "open_source",
    "output_suffix",
]


def is_video(path: Path) -> bool:
    """Whether the suffix is a video container's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def output_suffix(suffix: str) -> str:
    """The suffix of what becomes of a video whose name ends in ``suffix``, in whichever case it is."""
    return suffix if suffix.lower() in CONTAINERS else ".mkv"


def open_source(path: Path, options: ReadOptions = ReadOptions()) -> FrameSource:
    """Open a media file for reading, or standard input for raw frames; the suffix says which kind.

    Raises:
        ItemFailed: the file cannot be opened.
    """
    if options.raw:
        return raw_frames.standard_input(*options.raw)
    if is_video(path):
        from p2p_deploy.media.video.source import VideoSource

        return VideoSource(path, options)
    return files.ImageSource(path, options)


def open_sink(path: Path, source: FrameSource, options: WriteOptions = WriteOptions()) -> FrameSink:
    """Make the sink that writes what becomes of ``source`` to ``path``; of raw frames, to standard output.

    Raises:
        ItemFailed: that format does not hold it.
    """
    if isinstance(source, raw_frames.RawSource):
        return raw_frames.standard_output()
    if is_video(path):
        from p2p_deploy.media.video.sink import VideoSink
        from p2p_deploy.media.video.source import VideoSource

        if not isinstance(source, VideoSource):
            raise ItemFailed(f"{source.path} is a still image, and {path.name} would be a video.")
        return VideoSink(path, source, options)
    pages = source.pages if isinstance(source, files.ImageSource) else 1
    if pages > 1 and path.suffix.lower() in files.TIFF_SUFFIXES:
        from p2p_deploy.media.image.tiff_sink import TiffSink

        return TiffSink(path)
    if pages > 1:
        raise ItemFailed(
            f"{source.path} holds {pages} pages, and {path.suffix[1:].upper()} one. Run with `ext=same` (or tiff)."
        )
    return files.ImageSink(path, options)
