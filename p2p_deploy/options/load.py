"""How a model is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from p2p_deploy.options.declaration import Option, Options


@dataclass(frozen=True, kw_only=True)
class LoadOptions(Options):
    """How a model is opened.

    Attributes:
        threads: CPU threads for one inference of ONNX Runtime; None takes one for each core.
        cuda_graphs: let TensorRT replay work that repeats as a CUDA graph.
    """

    device: Annotated[
        str,
        Option(
            "auto, cpu or cuda:N; auto is the CPU, and for a .plan the first GPU. p2p run also takes several that "
            "share the work as each gets done, such as cuda:0,cuda:1; cpu,cpu are two networks side by side with half "
            "of the cores each. A GPU that cannot be used is an error and never a silent run on the CPU.",
            shown="auto|cpu|cuda:N",
        ),
    ] = "auto"
    rebuild: Annotated[
        bool,
        Option(
            "Build a plan that does not fit this machine (TensorRT version, GPU, system) again from the ONNX file "
            "beside it, on and for the GPU of `device`."
        ),
    ] = False
    trust_plan: Annotated[
        bool,
        Option(
            "Let a version-compatible plan run the CPU code that it carries; only for plans whose origin you trust. "
            "Plans for RTX carry none and need no trust."
        ),
    ] = False
    threads: int | None = None
    cuda_graphs: bool = True
