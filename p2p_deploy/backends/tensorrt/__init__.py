"""TensorRT plans: what is checked before one is loaded, and how it is run."""

from p2p_deploy.backends.tensorrt.model import TensorRTModel, open_plan
from p2p_deploy.backends.tensorrt.preflight import TensorRTOptions

__all__ = ["TensorRTModel", "TensorRTOptions", "open_plan"]
