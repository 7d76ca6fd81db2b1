"""What the threads of a run do with one item: open it, decode it into its rows, encode what became of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np

from p2p_deploy import pixels
from p2p_deploy.backends.base import Backend
from p2p_deploy.errors import InputError, ItemFailed
from p2p_deploy.image_spec import ImageSpec
from p2p_deploy.jobs import Job
from p2p_deploy.ledger import InputState
from p2p_deploy.manifest import stamp
from p2p_deploy.media import Frame, FrameSource, Item, maps, open_sink, open_source
from p2p_deploy.media.images import DEEP_SUFFIXES, DEPTH_LOST
from p2p_deploy.spec import ModelSpec


def check_instances(spec: ModelSpec, source: Path, instances: Path | None) -> None:
    """Raise InputError unless there are instance maps exactly where the network takes them."""
    wanted = len(spec.inputs) > 1
    if wanted and instances is None:
        raise InputError(
            f"{spec.name} looks at the edges of instances. Name the folder of instance maps with --instances DIR."
        )
    if instances is not None and not wanted:
        raise InputError(f"{spec.name} takes no instance maps; leave out --instances.")
    if instances is not None and instances.is_file() and source.is_dir():
        raise InputError(f"{instances} is one file, and {source} a folder; expected the folder of their instance maps.")
    if instances is not None and not instances.exists():
        raise InputError(f"{instances} does not exist; expected the instance maps that belong to the label maps.")


def open_input(job: Job, spec: ModelSpec, instances: Path | None) -> FrameSource:
    """Open an input for reading: a picture or a video, or a map of labels with its instances.

    Raises:
        ItemFailed: it cannot be opened, or its instances are not there.
    """
    if spec.input.kind == "image":
        return open_source(job.source)
    found = maps.instances_of(job.source, job.name, instances)
    return maps.MapSource(job.source, spec.input.classes or 0, found)


def input_stamp(job: Job, instances: Path | None) -> list[list[int] | None]:
    """By what the files of an input are known again: see ``manifest.stamp``."""
    files = [job.source]
    if instances is not None:
        with contextlib.suppress(ItemFailed):
            files.append(maps.instances_of(job.source, job.name, instances) or job.source)
    return [stamp(file) for file in files]


def decode(source: FrameSource, item: Item, rows: tuple[pixels.Row, ...], spec: ImageSpec) -> Frame:
    """Decode an item into its rows, one for each of the network's inputs.

    Raises:
        ItemFailed: it cannot be read or fitted.
        EndOfStream: there is no such item.
    """
    frame, image_HWC = source.decode(item)
    try:
        if spec.kind == "image":
            pixels.fit_into(image_HWC, rows[0], spec)
        else:
            maps.fit_into(image_HWC, rows)
    except cv2.error as exc:
        raise ItemFailed(f"{item.path} cannot be resized: {exc.err}.") from exc
    return frame


def encode(state: InputState, frame: Frame, row: pixels.Row, spec: ImageSpec) -> None:
    """Restore an output to its source's size and write it; a picture is complete then.

    Raises:
        ItemFailed: it cannot be encoded, or its input has failed already.
        Failed: the disk does not take it.
    """
    assert state.source is not None
    if state.error:
        raise ItemFailed(state.error)
    try:
        image_HWC = pixels.restore(row, *frame.size, spec, np.uint16 if frame.depth == 16 else np.uint8)
    except ValueError as exc:
        raise ItemFailed(f"{state.job.source}, frame {frame.index}: {exc}.") from exc
    if state.source.sequential:
        _append(state, state.source, frame, image_HWC)
        return
    sink = open_sink(state.job.output, state.source)
    try:
        sink.write(frame, image_HWC)
        sink.close()
    except BaseException:
        sink.abort()
        raise


def _append(state: InputState, source: FrameSource, frame: Frame, image_HWC: pixels.Pixels) -> None:
    """Add a frame to a video; once one fails, the video has failed, and no later frame may be written to it."""
    if state.sink is None:
        state.sink = open_sink(state.job.output, source)
    try:
        state.sink.write(frame, image_HWC)
    except ItemFailed as exc:
        state.error = str(exc)
        raise


def fitting_notes(frame: Frame, model: Backend, output: Path) -> list[str]:
    """What an image lost or gained on its way through the network."""
    notes = []
    height, width = model.size
    if frame.size != model.size:
        notes.append(f"resized to {height}x{width} and back")
    if frame.depth > 8 and (model.spec.input.dtype == "uint8" or output.suffix.lower() not in DEEP_SUFFIXES):
        notes.append(DEPTH_LOST)
    if frame.channels != model.spec.input.channels:
        notes.append("colour reduced to grey" if frame.channels == 3 else "grey widened to RGB")
    return notes
