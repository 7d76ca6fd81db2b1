"""Options that several commands have, and what values are made of on a command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from p2p_deploy.options.declaration import Option

Overwrite = Annotated[bool, Option("Replace what exists already.")]
CheckImages = Annotated[
    Path | None,
    Option("Folder of images to judge on, at most 64 of them. Default: eight photographs that ship with the package."),
]
MinPsnr = Annotated[float, Option("PSNR in dB that a half precision must reach.", low=0, shown="DB")]
MIN_PSNR_DB = 40.0


def size(text: str) -> tuple[int, int]:
    """``HxW`` in pixels, as (height, width)."""
    found = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    if not found:
        raise ValueError(f"expected HxW in pixels, such as 256x256, got {text!r}")
    return int(found[1]), int(found[2])


def count_or_auto(text: str) -> int | None:
    """A number from 1 on, or None for ``auto``."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise ValueError(f"expected a number from 1 on, or auto, got {text!r}")
    return int(text)
