"""p2p-deploy: train, export and run pix2pix-family image-to-image networks.

    import p2p_deploy

    with p2p_deploy.load("facades.onnx") as model:
        outputs_NHWC = model(frames_NHWC)  # uint8 in, uint8 out

Importing this package loads no runtime: no torch, ONNX Runtime, TensorRT, OpenCV or PyAV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from p2p_deploy.errors import P2PError
from p2p_deploy.spec import ImageSpec, ModelSpec

if TYPE_CHECKING:
    from p2p_deploy.backends import load as load
    from p2p_deploy.runner.run import run as run

__version__ = "0.1.0"

__all__ = ["ImageSpec", "ModelSpec", "P2PError", "__version__", "load", "run"]

_LAZY = {"load": "p2p_deploy.backends", "run": "p2p_deploy.runner.run"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
