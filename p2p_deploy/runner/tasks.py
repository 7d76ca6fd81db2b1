"""What the threads of a run do with one item: open it, decode it into its rows, encode what became of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from p2p_deploy import pixels
from p2p_deploy.errors import InputError, ItemFailed
from p2p_deploy.media import Frame, FrameSource, Item, ReadOptions, WriteOptions, open_sink, open_source
from p2p_deploy.media.image import maps
from p2p_deploy.media.image.encoding import writing_notes
from p2p_deploy.media.image.files import DEEP_SUFFIXES, DEPTH_LOST
from p2p_deploy.runner.jobs import Job
from p2p_deploy.runner.record import stamp
from p2p_deploy.runner.tiling import FitPlan, FitPlanner, TileBlender, cut
from p2p_deploy.runner.tracker import InputState
from p2p_deploy.spec import ImageSpec, ModelSpec


def check_instances(spec: ModelSpec, source: Path, instances: Path | None) -> None:
    """Raise InputError unless there are instance maps exactly where the network takes them."""
    wanted = len(spec.inputs) > 1
    if wanted and instances is None:
        raise InputError(
            f"{spec.name} looks at the edges of instances. Name the folder of instance maps with `instances=DIR`."
        )
    if instances is not None and not wanted:
        raise InputError(f"{spec.name} takes no instance maps; leave out `instances`.")
    if instances is not None and instances.is_file() and not source.is_file():
        raise InputError(
            f"{instances} is one file, and {source} is several; expected the folder of their instance maps."
        )
    if instances is not None and not instances.exists():
        raise InputError(f"{instances} does not exist; expected the instance maps that belong to the label maps.")


def open_input(job: Job, spec: ModelSpec, instances: Path | None, options: ReadOptions) -> FrameSource:
    """Open an input for reading: a picture or a video, or a map of labels with its instances.

    Raises:
        ItemFailed: it cannot be opened, or its instances are not there.
    """
    if spec.input.kind == "image":
        return open_source(job.source, options)
    found = maps.instances_of(job.source, job.name, instances)
    return maps.MapSource(job.source, spec.input.classes or 0, found, options.max_pixels)


def input_stamp(job: Job, instances: Path | None) -> list[list[int] | None]:
    """By what the files of an input are known again: see ``manifest.stamp``."""
    files = [job.source]
    if instances is not None:
        with contextlib.suppress(ItemFailed):
            files.append(maps.instances_of(job.source, job.name, instances) or job.source)
    return [stamp(file) for file in files]


@dataclass(slots=True, eq=False)
class DecodedPicture:
    """A picture that waits for places in batches.

    Attributes:
        frame: what there is to know about it.
        layout: how it goes through the network.
        parts: for each row its array for each of the network's inputs.
        blender: where the parts come together again, if there are several.
    """

    frame: Frame
    layout: FitPlan
    parts: list[tuple[pixels.Row, ...]]
    blender: TileBlender | None = None


@dataclass(slots=True, eq=False)
class BatchRow:
    """What a row of a batch is.

    Attributes:
        state: the input it belongs to.
        frame: what there is to know about its picture.
        layout: how that goes through the network.
        part: which part of the picture the row is.
        blender: where the parts come together, if there are several.
    """

    state: InputState
    frame: Frame
    layout: FitPlan
    part: int = 0
    blender: TileBlender | None = None


def decode_into(source: FrameSource, item: Item, rows: tuple[pixels.Row, ...], spec: ImageSpec) -> Frame:
    """Decode an item and resize it into its rows, one for each of the network's inputs.

    Raises:
        ItemFailed: it cannot be read or fitted.
        EndOfStream: there is no such item.
    """
    into = rows[0] if spec.kind == "image" and spec.dtype == "uint8" else None
    frame, image_HWC = source.decode(item, into)
    try:
        if image_HWC is into:
            return frame
        if spec.kind == "image":
            pixels.fit_into(image_HWC, rows[0], spec)
        else:
            maps.fit_into(image_HWC, rows)
    except cv2.error as exc:
        raise ItemFailed(f"{item.path} cannot be resized: {exc.err}.") from exc
    return frame


def decode(source: FrameSource, item: Item, fitting: FitPlanner, spec: ImageSpec) -> DecodedPicture:
    """Decode an item and cut it into the parts that will be rows of batches.

    Raises:
        ItemFailed: it cannot be read, or is too large.
        EndOfStream: there is no such item.
    """
    frame, image_HWC = source.decode(item)
    layout = fitting.layout(frame.size)
    if spec.kind == "image":
        image_HWC = pixels.to_channels(image_HWC, spec.channels)
        parts: list[tuple[pixels.Row, ...]] = [
            (pixels.to_row(cut(image_HWC, layout, index), spec),) for index in range(len(layout.corners))
        ]
    else:
        maps_HWC = cut(image_HWC, layout, 0)
        parts = [tuple(maps_HWC[:, :, index : index + 1] for index in range(maps_HWC.shape[2]))]
    return DecodedPicture(frame, layout, parts, TileBlender(layout, frame.size) if len(parts) > 1 else None)


def encode(place: BatchRow, row: pixels.Row, spec: ImageSpec, options: WriteOptions) -> bool:
    """Make an output of the source's size and write it; a picture is complete then.

    Returns:
        False where parts of the picture are still to come.

    Raises:
        ItemFailed: it cannot be encoded, or its input has failed already.
        Failed: the disk does not take it.
    """
    state, frame = place.state, place.frame
    assert state.source is not None
    if state.error:
        raise ItemFailed(state.error)
    try:
        image_HWC = _restored(place, row, spec)
    except ValueError as exc:
        raise ItemFailed(f"{state.job.source}, frame {frame.index}: {exc}.") from exc
    if image_HWC is None:
        return False
    if state.source.sequential:
        _append(state, state.source, frame, image_HWC, options)
        return True
    sink = open_sink(state.job.output, state.source, options)
    try:
        sink.write(frame, image_HWC)
        sink.close()
    except BaseException:
        sink.abort()
        raise
    return True


def _restored(place: BatchRow, row: pixels.Row, spec: ImageSpec) -> pixels.Pixels | None:
    """The picture that a row, or the last of several rows, makes; None while others are to come."""
    height, width = place.frame.size
    depth = np.uint16 if place.frame.depth == 16 else np.uint8
    if place.layout.how == "resize":
        return pixels.restore(row, height, width, spec, depth)
    if place.blender is None:
        return pixels.from_row(row, spec, depth)[:height, :width]
    whole_HWC = place.blender.add(place.part, np.moveaxis(row, 0, -1) if spec.channels_first else row)
    if whole_HWC is None:
        return None
    whole_HWC = whole_HWC[:height, :width]
    if spec.dtype == "uint8":
        return np.clip(np.rint(whole_HWC), 0, 255).astype(np.uint8)
    return pixels.from_row(np.moveaxis(whole_HWC, -1, 0), spec, depth)


def _append(
    state: InputState, source: FrameSource, frame: Frame, image_HWC: pixels.Pixels, options: WriteOptions
) -> None:
    """Add a frame to a video; once one fails, the video has failed, and no later frame may be written to it."""
    if state.sink is None:
        state.sink = open_sink(state.job.output, source, options)
    try:
        state.sink.write(frame, image_HWC)
    except ItemFailed as exc:
        state.error = str(exc)
        raise


def notes_of(place: BatchRow, spec: ModelSpec) -> list[str]:
    """What an image lost or gained on its way through the network."""
    frame, output = place.frame, place.state.job.output
    notes = [*frame.notes, *writing_notes(frame, output, spec.output.channels)]
    fitted = place.layout.note(frame.size)
    if fitted:
        notes.append(fitted)
    if frame.depth > 8 and (spec.input.dtype == "uint8" or output.suffix.lower() not in DEEP_SUFFIXES):
        notes.append(DEPTH_LOST)
    if frame.channels != spec.input.channels:
        notes.append("colour reduced to grey" if frame.channels == 3 else "grey widened to RGB")
    return notes
