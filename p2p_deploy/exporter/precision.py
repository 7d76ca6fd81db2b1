"""What a network computes in, settled in the network itself: half where it is safe, float32 where it is not.

TensorRT networks are strongly typed, so the precision has to be in the graph. Everything here acts on a folded copy of
a generator and leaves the original alone.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
PRODUCTS = (*CONVOLUTIONS, nn.Linear)  # what does nearly all of the work
# They sum over a whole picture, which half cannot.
REDUCTIONS = (nn.InstanceNorm2d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.AdaptiveAvgPool2d)


def fold_batchnorm(generator: nn.Module) -> nn.Module:
    """A copy in which every eval-mode BatchNorm is merged into the convolution registered right before it.

    Done in float32 before any cast to half, because the folded weights are what gets rounded. Relies on our generators
    registering a norm directly after the convolution it follows; the comparison at export proves the result.
    """
    folded = copy.deepcopy(generator).eval()
    for module in list(folded.modules()):
        previous: tuple[str, nn.Module] | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and previous and isinstance(previous[1], CONVOLUTIONS):
                transposed = isinstance(previous[1], nn.ConvTranspose2d)
                setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child, transpose=transposed))
                setattr(module, name, nn.Identity())
            previous = (name, child)
    return folded


def with_instance_statistics(generator: nn.Module) -> nn.Module:
    """A copy whose BatchNorms normalise each picture by its own mean and variance, as in training with batch 1.

    The reference implementation of pix2pix tests in train mode; this is that, each frame of a batch by itself.
    """
    changed = copy.deepcopy(generator).eval()
    for module in list(changed.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                norm = nn.InstanceNorm2d(child.num_features, eps=child.eps, affine=child.affine)
                norm.load_state_dict(dict(child.named_parameters()))
                setattr(module, name, norm.eval().requires_grad_(False))
    return changed


def at_precision(generator: nn.Module, precision: Precision, fp32_layers: Collection[str] = ()) -> nn.Module:
    """A folded copy of ``generator`` that computes in ``precision``.

    Reductions (norms) take and compute float32, and give half again. The convolutions (and linear layers) in
    ``fp32_layers`` compute float32 and give float32, so that what half cannot hold lives on until a norm or another
    convolution brings it back; between them, operators without weights work in whatever they are given.

    Args:
        generator: in eval mode, float32.
        precision: what everything else computes in.
        fp32_layers: names of convolutions, as in ``generator.named_modules()``.

    Raises:
        ValueError: an island is no convolution of the generator.
    """
    folded = fold_batchnorm(generator)
    convolutions = {name: module for name, module in folded.named_modules() if isinstance(module, PRODUCTS)}
    if unknown := sorted(set(fp32_layers) - convolutions.keys()):
        raise ValueError(f"no such convolution: {', '.join(unknown)}")
    if precision == "fp32":
        return folded
    dtype = DTYPES[precision]
    for name, module in folded.named_modules():
        if isinstance(module, REDUCTIONS):
            module.register_forward_pre_hook(_taking(torch.float32))
            module.register_forward_hook(_giving(dtype))
        elif name in convolutions:
            own = torch.float32 if name in fp32_layers else dtype
            module.to(own).register_forward_pre_hook(_taking(own))
    return folded


def _taking(dtype: torch.dtype) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda module, inputs: tuple(x.to(dtype) for x in inputs)


def _giving(dtype: torch.dtype) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    return lambda module, inputs, output: output.to(dtype)


@contextlib.contextmanager
def observing(
    network: nn.Module,
    wanted: Callable[[nn.Module], bool],
    see: Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], None],
) -> Iterator[None]:
    """While the block runs, call ``see(name, module, inputs, output)`` after each module that is ``wanted``."""
    with contextlib.ExitStack() as stack:
        for name, module in network.named_modules():
            if wanted(module):
                hook = module.register_forward_hook(functools.partial(see, name))
                stack.callback(hook.remove)
        yield


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has none inside it."""
    return next(module.children(), None) is None


@torch.no_grad()
def multiply_accumulates(generator: nn.Module, x: Tensor) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer for this input, by name; found by running it."""
    found: dict[str, int] = {}

    def count(name: str, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            found[name] = module.in_features * output.numel()
            return
        places = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        found[name] = module.weight.numel() * places.shape[0] * places.shape[2] * places.shape[3]

    with observing(generator, lambda module: isinstance(module, PRODUCTS), count):
        generator(x)
    return found
