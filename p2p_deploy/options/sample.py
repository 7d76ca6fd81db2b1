"""How pictures are drawn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from p2p_deploy.options.declaration import Option, Options
from p2p_deploy.options.shared import Overwrite


def class_or_all(text: str) -> int | None:
    """The number of a class, or None for ``all``."""
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"expected the number of a class, or all, got {text!r}")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Options):
    """How pictures are drawn."""

    count: Annotated[int, Option("How many pictures.", low=1, short="n")] = 64
    seed: Annotated[int, Option("Of the latent vectors; the same one gives the same pictures.", low=0)] = 0
    label: Annotated[
        int | None,
        Option(
            "Which class, from 0, of a network that has classes; all, the default: they take turns.",
            parse=class_or_all,
            shown="K|all",
            name="class",
        ),
    ] = None
    grid: Annotated[bool, Option("Write one picture of all of them; OUT is its name, which ends in .png.")] = False
    overwrite: Overwrite = False
