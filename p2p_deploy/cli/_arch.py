"""Options for what the keys of a foreign checkpoint cannot tell, shared by the commands that read one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from p2p_deploy.checkpoints import Assumptions


class Upsampling(StrEnum):
    """How often a SPADE generator doubles the size."""

    normal = "normal"
    more = "more"


ArchPart = Annotated[
    str | None, typer.Option("--arch-part", metavar="NAME", help="Which network of a checkpoint that holds several.")
]
ArchLabels = Annotated[
    int | None,
    typer.Option(
        "--arch-labels", metavar="N", min=0, help="Classes of the label map the network takes; 0 if it takes an image."
    ),
]
ArchEdges = Annotated[
    bool | None,
    typer.Option("--arch-edges/--no-arch-edges", help="Whether it also looks at the edges of instances."),
]
ArchFeatures = Annotated[
    int | None,
    typer.Option(
        "--arch-features", metavar="N", min=0, help="Input channels that a feature encoder (pix2pixHD) fills."
    ),
]
ArchEncoded = Annotated[
    Path | None,
    typer.Option(
        "--arch-encoded",
        metavar="FILE.npy",
        help="What an encoder gives: features, or those of each class (pix2pixHD), or a latent vector (SPADE with a "
        "VAE). Default: zeros.",
    ),
]
ArchUpsampling = Annotated[
    Upsampling | None,
    typer.Option("--arch-upsampling", help="SPADE: whether the size is doubled five (normal) or six times (more)."),
]


def assumptions(
    part: str | None,
    labels: int | None,
    edges: bool | None,
    features: int | None,
    encoded: Path | None,
    upsampling: Upsampling | None,
) -> Assumptions:
    """The options as the library takes them; torch has to be there."""
    from p2p_deploy.checkpoints import Assumptions

    return Assumptions(
        part=part,
        labels=labels,
        edges=edges,
        features=features,
        encoded=encoded,
        upsampling=upsampling.value if upsampling else None,
    )
