"""The module that is deployed: pixels in, pixels out, the generator in between.

Exporting this module, and not the bare generator, gives every runtime the same pixel arithmetic. The cast stands first
on the way in and last on the way out because TensorRT allows UINT8 only directly beside a Cast.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from p2p_deploy.spec import ModelSpec


class FrameModel(nn.Module):
    """Frames (N, H, W, C_in) uint8 to frames (N, H, W, C_out) uint8, the channel order as in the spec.

    Pixels 0..255 are mapped linearly onto the spec's value range and back, rounded half to even and clamped, in float32
    whatever the generator's precision; the generator is fed, and gives, the element type of its own weights.

    Args:
        generator: maps (N, C_in, H, W) to (N, C_out, H, W) in the spec's ranges, normally in eval mode.
        spec: what the generator is.
    """

    def __init__(self, generator: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.generator = generator
        self.dtype = next(generator.parameters()).dtype
        self.input_low, self.input_high = spec.input.value_range
        self.output_low, self.output_high = spec.output.value_range

    def forward(self, frames_NHWC: Tensor) -> Tensor:
        """Translate a batch of frames."""
        return to_frames(self.levels(frames_NHWC))

    def levels(self, frames_NHWC: Tensor) -> Tensor:
        """The same before rounding: (N, C_out, H, W) float32 in grey levels, where NaN and infinity still show."""
        x = frames_NHWC.to(torch.float32).permute(0, 3, 1, 2)
        x = x * ((self.input_high - self.input_low) / 255) + self.input_low
        y = self.generator(x.to(self.dtype)).to(torch.float32)
        return (y - self.output_low) * (255 / (self.output_high - self.output_low))


def to_frames(levels_NCHW: Tensor) -> Tensor:
    """Grey levels (N, C, H, W) float32 to frames (N, H, W, C) uint8, rounded half to even and clamped."""
    return torch.clamp(torch.round(levels_NCHW), 0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def fold_batchnorm(generator: nn.Module) -> nn.Module:
    """A copy in which every eval-mode BatchNorm is merged into the convolution registered right before it.

    Done in float32 before any cast to half, because the folded weights are what gets rounded. Relies on our generators
    registering a norm directly after the convolution it follows; the comparison at export proves the result.
    """
    folded = copy.deepcopy(generator).eval()
    for module in list(folded.modules()):
        previous: tuple[str, nn.Module] | None = None
        for name, child in list(module.named_children()):
            if (
                isinstance(child, nn.BatchNorm2d)
                and previous
                and isinstance(previous[1], nn.Conv2d | nn.ConvTranspose2d)
            ):
                transposed = isinstance(previous[1], nn.ConvTranspose2d)
                setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child, transpose=transposed))
                setattr(module, name, nn.Identity())
            previous = (name, child)
    return folded
