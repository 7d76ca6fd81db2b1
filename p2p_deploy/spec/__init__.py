"""What a model is: its network, the pixels it wants and gives. Standard library only."""

from p2p_deploy.spec.image import Dtype, ImageSpec
from p2p_deploy.spec.model import MAX_SIDE, METADATA_KEY, PRECISION_KEY, QUALITY_KEY, Direction, ModelSpec, NormStats

__all__ = [
    "MAX_SIDE",
    "METADATA_KEY",
    "PRECISION_KEY",
    "QUALITY_KEY",
    "Direction",
    "Dtype",
    "ImageSpec",
    "ModelSpec",
    "NormStats",
]
