"""What the threads of a run do with one item: open it, decode it into its rows, encode what became of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from p2p_deploy import pixels
from p2p_deploy.errors import InputError, ItemFailed
from p2p_deploy.media import Frame, FrameSource, Item, ReadOptions, WriteOptions, open_source
from p2p_deploy.media.image import maps
from p2p_deploy.media.image.encoding import writing_notes
from p2p_deploy.media.image.files import DEEP_SUFFIXES, DEPTH_LOST
from p2p_deploy.runner.fitting import FitPlan, FitPlanner
from p2p_deploy.runner.jobs import Job
from p2p_deploy.runner.record import stamp
from p2p_deploy.runner.tiling import TileBlender, cut
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
    """By what the files of an input are known again: see ``record.stamp``."""
    files = [job.source]
    if instances is not None:
        with contextlib.suppress(ItemFailed):
            files.append(maps.instances_of(job.source, job.name, instances) or job.source)
    return [stamp(file) for file in files]


class IssuedItem(NamedTuple):
    """A frame that is to be decoded, the input it belongs to, and what decodes it."""

    state: InputState
    source: FrameSource
    item: Item


@dataclass(slots=True, eq=False)
class BatchRow:
    """What a row of a batch is.

    Attributes:
        state: the input it belongs to.
        frame: what there is to know about its picture.
        plan: how that goes through the network.
        part: which part of the picture the row is.
        blender: where the parts come together, if there are several.
    """

    state: InputState
    frame: Frame
    plan: FitPlan
    part: int = 0
    blender: TileBlender | None = None


class DecodedRow(NamedTuple):
    """A row that waits for its batch, and its array for each of the network's inputs."""

    row: BatchRow
    arrays: tuple[pixels.Row, ...]


def decode_into(issued: IssuedItem, arrays: tuple[pixels.Row, ...], spec: ImageSpec, plan: FitPlan) -> BatchRow:
    """Decode an item and resize it into a row's array for each of the network's inputs.

    Raises:
        ItemFailed: it cannot be read or resized.
        EndOfStream: there is no such item.
    """
    into = arrays[0] if spec.kind == "image" and spec.dtype == "uint8" else None
    frame, image_HWC = issued.source.decode(issued.item, into)
    if image_HWC is not into:
        try:
            if spec.kind == "image":
                pixels.fit_into(image_HWC, arrays[0], spec)
            else:
                maps.fit_into(image_HWC, arrays)
        except cv2.error as exc:
            raise ItemFailed(f"{issued.item.path} cannot be resized: {exc.err}.") from exc
    return BatchRow(issued.state, frame, plan)


def decode(issued: IssuedItem, planner: FitPlanner, spec: ImageSpec) -> list[DecodedRow]:
    """Decode an item and cut it into the parts that will be rows of batches.

    Raises:
        ItemFailed: it cannot be read, or is too large.
        EndOfStream: there is no such item.
    """
    frame, image_HWC = issued.source.decode(issued.item)
    plan = planner.plan(frame.size)
    if spec.kind != "image":
        maps_HWC = cut(image_HWC, plan, 0)
        arrays = tuple(maps_HWC[:, :, index : index + 1] for index in range(maps_HWC.shape[2]))
        return [DecodedRow(BatchRow(issued.state, frame, plan), arrays)]
    image_HWC = pixels.to_channels(image_HWC, spec.channels)
    blender = TileBlender(plan, frame.size) if len(plan.corners) > 1 else None
    return [
        DecodedRow(
            BatchRow(issued.state, frame, plan, part, blender), (pixels.to_row(cut(image_HWC, plan, part), spec),)
        )
        for part in range(len(plan.corners))
    ]


def encode(row: BatchRow, output: pixels.Row, spec: ImageSpec, options: WriteOptions) -> bool:
    """Make an output of the source's size and write it; a picture is complete then.

    Returns:
        False where parts of the picture are still to come.

    Raises:
        ItemFailed: it cannot be encoded, or its input has failed already.
        Failed: the disk does not take it.
    """
    state, frame = row.state, row.frame
    if state.error:
        raise ItemFailed(state.error)
    try:
        image_HWC = _restored(row, output, spec)
    except ValueError as exc:
        raise ItemFailed(f"{state.job.source}, frame {frame.index}: {exc}.") from exc
    if image_HWC is None:
        return False
    state.write(frame, image_HWC, options)
    return True


def _restored(row: BatchRow, output: pixels.Row, spec: ImageSpec) -> pixels.Pixels | None:
    """The picture that an output, or the last of several, makes; None while others are to come."""
    height, width = row.frame.size
    depth = np.uint16 if row.frame.depth == 16 else np.uint8
    if row.plan.how == "resize":
        return pixels.restore(output, height, width, spec, depth)
    if row.blender is None:
        return pixels.from_row(output, spec, depth)[:height, :width]
    whole_HWC = row.blender.add(row.part, np.moveaxis(output, 0, -1) if spec.channels_first else output)
    if whole_HWC is None:
        return None
    whole_HWC = whole_HWC[:height, :width]
    if spec.dtype == "uint8":
        return np.clip(np.rint(whole_HWC), 0, 255).astype(np.uint8)
    return pixels.from_row(np.moveaxis(whole_HWC, -1, 0), spec, depth)


def notes_of(row: BatchRow, spec: ModelSpec) -> list[str]:
    """What an image lost or gained on its way through the network."""
    frame, output = row.frame, row.state.job.output
    notes = [*frame.notes, *writing_notes(frame, output, spec.output.channels)]
    fitted = row.plan.note(frame.size)
    if fitted:
        notes.append(fitted)
    if frame.depth > 8 and (spec.input.dtype == "uint8" or output.suffix.lower() not in DEEP_SUFFIXES):
        notes.append(DEPTH_LOST)
    if frame.channels != spec.input.channels:
        notes.append("colour reduced to grey" if frame.channels == 3 else "grey widened to RGB")
    return notes
