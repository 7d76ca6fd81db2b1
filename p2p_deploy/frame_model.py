"""The module that is deployed: pixels in, pixels out, the generator in between.

Exporting this module, and not the bare generator, gives every runtime the same pixel arithmetic. The cast stands first
on the way in and last on the way out because TensorRT allows UINT8 only directly beside a Cast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from p2p_deploy.spec import ModelSpec


class FrameModel(nn.Module):
    """Frames (N, H, W, C_in) uint8 to frames (N, H, W, C_out) uint8, the channel order as in the spec.

    Pixels 0..255 are mapped linearly onto the spec's value range and back, rounded half to even and clamped, in float32
    whatever the generator's precision. Where the spec says float32, values (N, C, H, W) go in and come out as the
    generator has them.

    Args:
        generator: maps (N, C_in, H, W) to (N, C_out, H, W) in the spec's ranges, normally in eval mode.
        spec: what the generator is.
        dtype: what the generator is fed.
    """

    def __init__(self, generator: nn.Module, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.generator = generator
        self.dtype = dtype
        self.takes_values = spec.input.dtype == "float32"
        self.input_low, self.input_high = spec.input.value_range
        self.output_low, self.output_high = spec.output.value_range

    def forward(self, frames: Tensor) -> Tensor:
        """Translate a batch, in the form that the spec names."""
        return self.translate(frames) if self.takes_values else to_frames(self.levels(frames))

    def levels(self, frames_NHWC: Tensor) -> Tensor:
        """Frames before rounding: (N, C_out, H, W) float32 in grey levels, where NaN and infinity still show."""
        y = self.translate(self.values(frames_NHWC))
        return (y - self.output_low) * (255 / (self.output_high - self.output_low))

    def values(self, frames_NHWC: Tensor) -> Tensor:
        """What the generator is given for uint8 frames: (N, C_in, H, W) float32 in the spec's range."""
        x = frames_NHWC.to(torch.float32).permute(0, 3, 1, 2)
        return x * ((self.input_high - self.input_low) / 255) + self.input_low

    def translate(self, values_NCHW: Tensor) -> Tensor:
        """The generator in its own precision: float32 to float32, in the spec's ranges."""
        return self.generator(values_NCHW.to(self.dtype)).to(torch.float32)


def to_frames(levels_NCHW: Tensor) -> Tensor:
    """Grey levels (N, C, H, W) float32 to frames (N, H, W, C) uint8, rounded half to even and clamped."""
    return torch.clamp(torch.round(levels_NCHW), 0, 255).permute(0, 2, 3, 1).to(torch.uint8)
