"""Pictures from a network that draws them: as many files as are wanted, or one picture of them all."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy import latents
from p2p_deploy.backends.base import Model
from p2p_deploy.errors import Failed, InputError, OutputError
from p2p_deploy.files import exists_already, is_a_folder, refuse_existing, replacing
from p2p_deploy.machine import available_cores
from p2p_deploy.media.base import Frame
from p2p_deploy.media.image.files import ImageSink, encode_image
from p2p_deploy.options import SampleOptions
from p2p_deploy.options.run import MAX_PIXELS
from p2p_deploy.pixels import Pixels, from_row
from p2p_deploy.reports import Report
from p2p_deploy.spec import ModelSpec

BATCH = 64
MAX_BYTES = 2**28  # of the pictures of a batch
MOST_COLUMNS = 32  # for a column each, beyond which a grid of classes would be all width

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class SampleReport(Report):
    """What was drawn.

    Attributes:
        out: the folder, or the file of a grid.
        pictures: how many.
        size: (height, width) of each, pixels.
        seed: of the latent vectors.
        label: the class of all of them; None where there are none, or all in turn. In JSON it
            is ``class``, a number or ``all``.
        device: where they were computed.
        seconds: wall time.
    """

    out: Path
    pictures: int
    size: tuple[int, int]
    seed: int
    label: int | None
    device: str
    seconds: float

    @property
    def pictures_per_second(self) -> float:
        """Throughput, writing included."""
        return self.pictures / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = super().to_dict()
        label = values.pop("label")
        return {**values, "class": "all" if label is None else label, "pictures_per_second": self.pictures_per_second}


def sample(
    model: Model,
    out: str | Path,
    options: SampleOptions = SampleOptions(),
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> SampleReport:
    """Draw pictures with a GAN, from latent vectors of N(0, 1).

    The same seed gives the same pictures; more of them begin with those of fewer.

        >>> import p2p_deploy
        >>> with p2p_deploy.load("digits.onnx") as model:
        ...     report = p2p_deploy.sample(model, "drawn", p2p_deploy.SampleOptions(count=10, seed=3))
        >>> report.pictures, report.size
        (10, (12, 12))

    Args:
        model: a network that takes a latent vector.
        out: the folder, made where it is missing, which gets ``00000.png`` and so on, each whole or not at all; for a
            grid one PNG of them all, row by row, with a column for each class where these are not too many.
        options: how many, from which seed, of which class.
        on_progress: called with how many are done, and how many there will be.

    Raises:
        InputError: the model draws nothing, or has no such class; or a grid would be too large to be read again.
        OutputError: there are such files, or the place cannot be written to; or a grid is not named ``.png``.
        ItemFailed, Failed: the disk or the device failed; pictures that were written stay.
    """
    started = time.perf_counter()
    _check(model.spec, options.label)
    (_sample_grid if options.grid else _sample_files)(model, Path(out), options, on_progress)
    seconds = time.perf_counter() - started
    return SampleReport(Path(out), options.count, model.size, options.seed, options.label, model.device, seconds)


def _sample_files(model: Model, folder: Path, options: SampleOptions, on_progress: OnProgress) -> None:
    count = options.count
    digits = max(5, len(str(count - 1)))
    _refuse_existing(folder, count, digits, options.overwrite)
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
        for pictures in _drawn(model, options):
            shares = np.array_split(pictures, workers)
            starts = np.cumsum([done, *map(len, shares[:-1])]).tolist()
            for _ in pool.map(write, starts, shares):  # raises what they raise
                pass
            done += len(pictures)
            on_progress(done, count)


def _sample_grid(model: Model, path: Path, options: SampleOptions, on_progress: OnProgress) -> None:
    count = options.count
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} is no name for a grid, which is one picture; expected a name that ends in .png.")
    refuse_existing([path], options.overwrite)
    (height, width), columns = model.size, _columns(model.spec, count, options.label)
    size = (-(-count // columns) * height, columns * width)
    if math.prod(size) > MAX_PIXELS:
        raise InputError(
            f"A grid of {count} pictures would be {size[0]}x{size[1]} pixels; expected at most {MAX_PIXELS} of them. "
            "Draw fewer, or leave out `grid`."
        )
    grid = np.zeros((*size, model.spec.output.channels), np.uint8)
    done = 0
    for pictures in _drawn(model, options):
        for number, picture in enumerate(pictures, done):
            row, column = divmod(number, columns)
            grid[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
        done += len(pictures)
        on_progress(done, count)
    with replacing(path) as temporary:
        temporary.write_bytes(encode_image(grid, ".png"))


def _check(spec: ModelSpec, label: int | None) -> None:
    """Raise InputError unless the network draws pictures, and there is such a class."""
    if not spec.input.is_vector:
        raise InputError(
            f"{spec.name} takes {' and '.join(spec.input_names)} and no latent vector, so it draws nothing by itself. "
            "Run it over pictures with: p2p run MODEL IN OUT"
        )
    classes = spec.inputs[-1].classes
    if label is not None and classes is None:
        raise InputError(f"{spec.name} was trained without classes, so there is none to choose. Leave out `label`.")
    if label is not None and classes is not None and not 0 <= label < classes:
        raise InputError(f"Class {label} was asked for; {spec.name} has the classes 0 to {classes - 1}.")


def _columns(spec: ModelSpec, count: int, label: int | None) -> int:
    classes = spec.inputs[-1].classes or 1
    if label is None and 1 < classes <= MOST_COLUMNS:
        return min(classes, count)
    return math.ceil(math.sqrt(count))


def _drawn(model: Model, options: SampleOptions) -> Iterator[Pixels]:
    """The pictures in batches (N, H, W, C) uint8."""
    output, count = model.spec.output, options.count
    fit = MAX_BYTES // np.dtype(output.dtype).itemsize // math.prod(output.shape(*model.size))
    batch = max(1, min(BATCH, fit, model.max_batch(model.size)))
    inputs = latents.draw(model.spec, options.seed, batch, options.label)
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
