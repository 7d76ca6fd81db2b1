"""Pictures from a network that draws them: as many files as are wanted, or one picture of them all."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from p2p_deploy import latents
from p2p_deploy.backends.base import Model
from p2p_deploy.errors import Failed, InputError, OutputError
from p2p_deploy.files import exists_already, is_a_folder, refuse_existing, replacing
from p2p_deploy.machine import available_cores
from p2p_deploy.media.base import Frame, ReadOptions
from p2p_deploy.media.image.files import ImageSink, encode_image
from p2p_deploy.pixels import Pixels, from_row
from p2p_deploy.spec import ModelSpec

BATCH = 64
MAX_BYTES = 2**28  # of the pictures of a batch
MOST_COLUMNS = 32  # for a column each, beyond which a grid of classes would be all width

OnProgress = Callable[[int, int], None]


def sample_files(
    model: Model,
    folder: Path,
    count: int,
    *,
    seed: int = 0,
    label: int | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Write ``folder/00000.png`` and so on, each whole or not at all.

    Args:
        model: a network that takes a latent vector.
        folder: made where it is missing.
        count: how many.
        seed: the same one gives the same pictures; more of them begin with those of fewer.
        label: the class of all of them; None takes all classes in turn.
        overwrite: replace files that exist.
        on_progress: called with how many are done, and how many there will be.

    Raises:
        InputError: the model draws nothing, or has no such class, or ``count`` is none.
        OutputError: there are such files, or the folder cannot be made.
        ItemFailed, Failed: the disk or the device failed; pictures that were written stay.
    """
    check(model.spec, count, label)
    digits = max(5, len(str(count - 1)))
    _refuse_existing(folder, count, digits, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder} cannot be made a folder: {exc.strerror or exc}. Choose another place.") from exc
    frame = Frame(0, model.size, model.spec.output.channels)

    def write(first: int, pictures: Pixels) -> None:
        for number, picture in enumerate(pictures, first):
            sink = ImageSink(folder / f"{number:0{digits}d}.png")
            try:
                sink.write(frame, picture)
                sink.close()
            except BaseException:
                sink.abort()
                raise

    workers, done = available_cores(), 0
    with ThreadPoolExecutor(workers) as pool:
        for pictures in _drawn(model, count, seed, label):
            shares = np.array_split(pictures, workers)
            starts = np.cumsum([done, *map(len, shares[:-1])]).tolist()
            for _ in pool.map(write, starts, shares):  # raises what they raise
                pass
            done += len(pictures)
            on_progress(done, count)


def sample_grid(
    model: Model,
    path: Path,
    count: int,
    *,
    seed: int = 0,
    label: int | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Write one PNG of ``count`` pictures, row by row, with a column for each class where these are not too many.

    Raises:
        InputError: like ``sample_files``; or the picture would be too large to be read again.
        OutputError: the file exists, is not named ``.png``, or cannot be written.
        Failed: the device failed.
    """
    check(model.spec, count, label)
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} is no name for a grid, which is one picture; expected a name that ends in .png.")
    refuse_existing([path], overwrite)
    (height, width), columns = model.size, _columns(model.spec, count, label)
    size = (-(-count // columns) * height, columns * width)
    if math.prod(size) > ReadOptions().max_pixels:
        raise InputError(
            f"A grid of {count} pictures would be {size[0]}x{size[1]} pixels; expected at most "
            f"{ReadOptions().max_pixels} of them. Draw fewer, or leave out --grid."
        )
    grid = np.zeros((*size, model.spec.output.channels), np.uint8)
    done = 0
    for pictures in _drawn(model, count, seed, label):
        for number, picture in enumerate(pictures, done):
            row, column = divmod(number, columns)
            grid[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
        done += len(pictures)
        on_progress(done, count)
    with replacing(path) as temporary:
        temporary.write_bytes(encode_image(grid, ".png"))


def check(spec: ModelSpec, count: int, label: int | None) -> None:
    """Raise InputError unless the network draws pictures, so many can be wanted, and there is such a class."""
    if not spec.input.is_vector:
        raise InputError(
            f"{spec.name} takes {' and '.join(spec.input_names)} and no latent vector, so it draws nothing by itself. "
            "Run it over pictures with: p2p run MODEL IN OUT"
        )
    if count < 1:
        raise InputError(f"{count} pictures were asked for; expected 1 or more.")
    classes = spec.inputs[-1].classes
    if label is not None and classes is None:
        raise InputError(f"{spec.name} was trained without classes, so there is none to choose. Leave out --class.")
    if label is not None and classes is not None and not 0 <= label < classes:
        raise InputError(f"Class {label} was asked for; {spec.name} has the classes 0 to {classes - 1}.")


def _columns(spec: ModelSpec, count: int, label: int | None) -> int:
    classes = spec.inputs[-1].classes or 1
    if label is None and 1 < classes <= MOST_COLUMNS:
        return min(classes, count)
    return math.ceil(math.sqrt(count))


def _drawn(model: Model, count: int, seed: int, label: int | None) -> Iterator[Pixels]:
    """``count`` pictures in batches (N, H, W, C) uint8."""
    output = model.spec.output
    fit = MAX_BYTES // np.dtype(output.dtype).itemsize // math.prod(output.shape(*model.size))
    batch = max(1, min(BATCH, fit, model.max_batch(model.size)))
    inputs = latents.draw(model.spec, seed, batch, label)
    for done in range(0, count, batch):
        # The last batch is as full as the others, since how a matrix product is rounded depends on its size.
        rows = model(*next(inputs))[: count - done]
        try:
            yield from_row(rows, output)
        except ValueError as exc:
            raise Failed(f"{exc}. Export an earlier checkpoint.") from exc


def _refuse_existing(folder: Path, count: int, digits: int, overwrite: bool) -> None:
    """Raise OutputError where a picture has the name of what is there already; looks at the folder once."""
    existing, first = 0, ""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not re.fullmatch(rf"[0-9]{{{digits}}}\.png", entry.name) or int(entry.name[:digits]) >= count:
                    continue
                if entry.is_dir():
                    raise is_a_folder(folder / entry.name)
                existing, first = existing + 1, min(first or entry.name, entry.name)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise OutputError(f"{folder} cannot be used as a folder: {exc.strerror or exc}. Choose another place.") from exc
    if existing and not overwrite:
        raise exists_already(folder / first, existing)
