"""Half precision as a GPU computes it, on the CPU: for judging a network before there is a GPU to run it.

CPU runtimes compute half graphs in float32 and hide what overflows. Here every tensor between two operators really is
half; only inside a convolution, whose half kernel is slow on CPUs, products are summed in float32, as tensor cores do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from p2p_deploy.frame_model import FrameModel, to_frames
from p2p_deploy.pixels import Pixels

HALVES = (torch.float16, torch.bfloat16)


class Float32Accumulation(TorchDispatchMode):
    """Convolutions of half tensors: multiplied and summed in float32, rounded once at the end."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default and args[0].dtype in HALVES:
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
    def __call__(self, frames_NHWC: Pixels) -> Pixels:
        """(N, H, W, C_in) uint8 to (N, H, W, C_out) uint8; NaN becomes 0."""
        hooks = [
            module.register_forward_hook(self._count(name))
            for name, module in self.model.generator.named_modules()
            if not any(True for _ in module.children())
        ]
        try:
            with Float32Accumulation():
                levels = self.model.levels(torch.from_numpy(frames_NHWC))
        finally:
            for hook in hooks:
                hook.remove()
        return to_frames(levels.nan_to_num(0.0)).numpy()

    @property
    def first(self) -> str | None:
        """The first module that gave a non-finite value, or None."""
        return next(iter(self.non_finite), None)

    def _count(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            broken = int((~torch.isfinite(output)).sum())
            if broken:
                self.non_finite[name] = self.non_finite.get(name, 0) + broken

        return hook


def ranges(generator: nn.Module, frames: Tensor) -> dict[str, float]:
    """The largest absolute value each leaf module takes or gives on (N, C, H, W) inputs, by name."""
    largest: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            values = [float(tensor.abs().max()) for tensor in (*inputs, output)]
            largest[name] = max(largest.get(name, 0.0), *values)

        return hook

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in generator.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        with torch.no_grad():
            generator(frames)
    finally:
        for hook in hooks:
            hook.remove()
    return largest
