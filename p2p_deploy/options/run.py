"""How a run goes about its work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from p2p_deploy.options.declaration import Option, Options
from p2p_deploy.options.shared import Overwrite, count_or_auto, size

Fit = Literal["auto", "resize", "pad", "tile"]
# A file of a few kilobytes can announce a picture that fills any memory. This is where Pillow refuses.
MAX_PIXELS = 178_956_970
ImageFormat = Literal["png", "jpg", "webp", "tiff", "avif", "same"]


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """How a run goes about its work."""

    batch: Annotated[
        int | None,
        Option(
            "Images computed at once. auto, the default, begins with one and doubles, on the images of the run, and "
            "keeps the largest size that comes within 15 % of the quickest and takes at most half a second.",
            low=1,
            parse=count_or_auto,
            shown="N|auto",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Option(
            "Threads that decode and encode images. auto, the default, takes one for each core.",
            low=1,
            parse=count_or_auto,
            shown="N|auto",
        ),
    ] = None
    fit: Annotated[
        Fit,
        Option(
            "How pictures of other sizes go through the network: resize to its size and back; pad by reflection to the "
            "next size that it takes, and cut back; tile; or auto: resize for a model of one size, else pad, and tiles "
            "for what does not fit into memory."
        ),
    ] = "auto"
    ext: Annotated[
        ImageFormat, Option("Format of images; same keeps each input's own. Videos keep their container.")
    ] = "png"
    quality: Annotated[int | None, Option("Of JPEG, WebP and AVIF.", low=1, high=100)] = None
    codec: Annotated[
        str | None,
        Option(
            "Of videos: h264, h265, av1, vp9, prores, ffv1, mpeg4, or a hardware encoder. What does not go into a "
            "container is refused before any work.",
            shown="NAME",
        ),
    ] = None
    crf: Annotated[int | None, Option("Constant rate factor of the codec; smaller is better.", low=0)] = None
    recursive: Annotated[bool, Option("Descend into sub-folders; OUT mirrors the tree.")] = False
    limit: Annotated[int | None, Option("Do only so many inputs, the first ones in order.", low=1)] = None
    instances: Annotated[
        Path | None,
        Option(
            "For models that take label maps and instances: the folder with the instance map of each label map, or the "
            "file for a single one.",
            shown="DIR",
        ),
    ] = None
    max_pixels: Annotated[
        int, Option("Height times width of the largest picture or video frame that is decoded.", low=1)
    ] = MAX_PIXELS
    raw: Annotated[
        tuple[int, int] | None,
        Option(
            "Raw RGB frames of that size: IN and OUT are both -, for standard input and output.",
            parse=size,
            shown="HxW",
        ),
    ] = None
    resume: Annotated[
        bool,
        Option(
            "Go on with an earlier run: leave out the inputs whose last line in the record says done by this very "
            "model, and whose input and output have the size and time of change of then; do all others again."
        ),
    ] = False
    overwrite: Overwrite = False
    fail_fast: Annotated[bool, Option("Stop at the first input that fails; what is under way is finished.")] = False
