"""TensorRT plans: what is checked before one is loaded, and how it is run."""

from p2p_deploy.backends.tensorrt.model import TensorRTModel, open_plan

__all__ = ["TensorRTModel", "open_plan"]
