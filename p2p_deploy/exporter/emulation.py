"""Half precision as a GPU computes it, on the CPU: for judging a network before there is a GPU to run it.

CPU runtimes compute half graphs in float32 and hide what overflows. Here every tensor between two operators really is
half; only inside a convolution or a linear layer, whose half kernels are slow on CPUs, products are summed in float32,
as tensor cores do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from p2p_deploy.exporter.precision import is_leaf, observing
from p2p_deploy.generators.frame_model import FrameModel, to_frames
from p2p_deploy.pixels import Pixels

HALVES = (torch.float16, torch.bfloat16)
_SUMS = (torch.ops.aten.convolution.default, torch.ops.aten.addmm.default, torch.ops.aten.mm.default)


class Float32Accumulation(TorchDispatchMode):
    """Convolutions and matrix products of half tensors: multiplied and summed in float32, rounded once at the end."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in _SUMS and args[0].dtype in HALVES:
            widened = (arg.float() if isinstance(arg, Tensor) else arg for arg in args)
            return func(*widened).to(args[0].dtype)
        return func(*args, **(kwargs or {}))


class Emulation:
    """Runs a FrameModel in half and counts what is no longer a finite number.

    Attributes:
        non_finite: values that are NaN or infinite so far, by module, in the order modules run; only modules with some.
    """

    def __init__(self, model: FrameModel) -> None:
        self.model = model
        self.non_finite: dict[str, int] = {}

    @torch.no_grad()
    def __call__(self, *inputs: np.ndarray) -> Pixels:
        """What the model takes to frames (N, H, W, C_out) uint8; NaN becomes 0."""
        summing = Float32Accumulation()  # type: ignore[no-untyped-call]  # its constructor is torch's
        with observing(self.model.generator, is_leaf, self._count), summing:
            levels = self.model.levels(*map(torch.from_numpy, inputs))
        return to_frames(levels.nan_to_num(0.0)).numpy()

    @property
    def first(self) -> str | None:
        """The first module that gave a non-finite value, or None."""
        return next(iter(self.non_finite), None)

    def _count(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        broken = int((~torch.isfinite(output)).sum())
        if broken:
            self.non_finite[name] = self.non_finite.get(name, 0) + broken


@torch.no_grad()
def ranges(generator: nn.Module, x: Tensor) -> dict[str, float]:
    """The largest absolute value each leaf module takes or gives on these inputs, run one at a time, by name."""
    largest: dict[str, float] = {}

    def watch(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = [float(tensor.abs().max()) for tensor in (*inputs, output)]
        largest[name] = max(largest.get(name, 0.0), *values)

    with observing(generator, is_leaf, watch):
        for one in x.split(1):
            generator(one)
    return largest
