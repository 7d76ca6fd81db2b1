"""What the keys of a foreign checkpoint cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from p2p_deploy.options.declaration import Option, Options


@dataclass(frozen=True, kw_only=True)
class Assumptions(Options):
    """What the keys of a foreign checkpoint cannot tell; None is the default of its family, which is stated."""

    part: Annotated[
        str | None, Option("Which network of a checkpoint that holds several.", name="arch-part", shown="NAME")
    ] = None
    labels: Annotated[
        int | None,
        Option(
            "Classes of the label map that the network takes; 0 if it takes an image.",
            low=0,
            name="arch-labels",
            shown="N",
        ),
    ] = None
    edges: Annotated[bool | None, Option("Whether it also looks at the edges of instances.", name="arch-edges")] = None
    features: Annotated[
        int | None,
        Option("Input channels that pix2pixHD's feature encoder fills.", low=0, name="arch-features", shown="N"),
    ] = None
    encoded: Annotated[
        Path | None,
        Option(
            "What an encoder would give: features (F,) or, for each class, (classes, F) of pix2pixHD; or a latent "
            "vector (Z,) of SPADE with a VAE. Default: zeros.",
            name="arch-encoded",
            shown="FILE.npy",
        ),
    ] = None
    upsampling: Annotated[
        Literal["normal", "more"] | None,
        Option("SPADE: whether the size is doubled five (normal) or six times (more).", name="arch-upsampling"),
    ] = None
