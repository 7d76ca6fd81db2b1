"""The module that is deployed: pixels, labels or latent vectors in, pixels out, the generator in between.

Exporting this module, and not the bare generator, gives every runtime the same pixel arithmetic. The cast stands first
on the way in and last on the way out because TensorRT allows UINT8 only directly beside a Cast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from p2p_deploy.spec import ModelSpec


class FrameModel(nn.Module):
    """Images, label maps or latent vectors to images, in the forms that a spec names; see ``ImageSpec.dtype``.

    Frames (N, H, W, C) uint8 are mapped linearly from 0..255 onto the spec's value range and back, rounded half to even
    and clamped, in float32 whatever the generator's precision. Values (N, C, H, W) float32 go in and come out as the
    generator has them. Labels (N, H, W, 1) become one-hot channels, and instances (N, H, W, 1) one channel of edges.
    Latent vectors (N, Z) stay what they are, and classes (N, 1) follow them, one-hot.

    Args:
        generator: maps (N, C_in, H, W), or (N, Z + classes), to (N, C_out, H, W) in the spec's ranges, normally in eval
            mode.
        spec: what the generator is.
        dtype: what the generator is fed.
    """

    def __init__(self, generator: nn.Module, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.generator = generator
        self.dtype = dtype
        self.input, self.output = spec.input, spec.output
        self.classes = spec.inputs[-1].classes or 0
        self.input_low, self.input_high = spec.input.value_range
        self.output_low, self.output_high = spec.output.value_range

    def forward(self, *inputs: Tensor) -> Tensor:
        """Translate a batch: one tensor for each of the spec's inputs."""
        if self.output.dtype == "float32":
            return self.translate(self.values(*inputs))
        return to_frames(self.levels(*inputs))

    def levels(self, *inputs: Tensor) -> Tensor:
        """Frames before rounding: (N, C_out, H, W) float32 in grey levels, where NaN and infinity still show."""
        y = self.translate(self.values(*inputs))
        return (y - self.output_low) * (255 / (self.output_high - self.output_low))

    def values(self, *inputs: Tensor) -> Tensor:
        """What the generator is given: (N, C_in, H, W) or (N, Z + classes) float32."""
        if self.input.kind == "latent":
            return torch.cat([inputs[0], *(one_hot_vectors(numbers, self.classes) for numbers in inputs[1:])], dim=1)
        if self.input.kind == "labels":
            channels = [one_hot(inputs[0], self.input.classes or 0), *(edges(instances) for instances in inputs[1:])]
            return torch.cat(channels, dim=1)
        if self.input.dtype == "float32":
            return inputs[0]
        x = inputs[0].to(torch.float32).permute(0, 3, 1, 2)
        return x * ((self.input_high - self.input_low) / 255) + self.input_low

    def translate(self, values: Tensor) -> Tensor:
        """The generator in its own precision: float32 to float32, in the spec's ranges."""
        return self.generator(values.to(self.dtype)).to(torch.float32)


def one_hot(labels_NHWC: Tensor, classes: int) -> Tensor:
    """Classes (N, H, W, 1) to channels (N, classes, H, W) float32 of 0 and 1; numbers beyond them give only 0."""
    numbers = labels_NHWC.to(torch.int32).permute(0, 3, 1, 2)
    known = torch.arange(classes, dtype=torch.int32, device=numbers.device).view(1, -1, 1, 1)
    return (numbers == known).to(torch.float32)


def one_hot_vectors(numbers: Tensor, classes: int) -> Tensor:
    """Classes (N, 1), whole numbers, to (N, classes) float32 of 0 and 1; numbers beyond them give only 0."""
    known = torch.arange(classes, dtype=torch.int32, device=numbers.device)
    return (numbers.to(torch.int32) == known).to(torch.float32)


def edges(instances_NHWC: Tensor) -> Tensor:
    """Instances (N, H, W, 1) to (N, 1, H, W) float32: 1 where one of the four neighbours is another instance.

    Wang et al.: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (CVPR 2018), section
    3.3.
    """
    numbers = instances_NHWC.to(torch.int32).permute(0, 3, 1, 2)
    across = (numbers[..., 1:] != numbers[..., :-1]).to(torch.float32)
    down = (numbers[:, :, 1:] != numbers[:, :, :-1]).to(torch.float32)
    pad = nn.functional.pad
    sides = pad(across, (1, 0)) + pad(across, (0, 1)) + pad(down, (0, 0, 1, 0)) + pad(down, (0, 0, 0, 1))
    return sides.clamp(max=1)


def to_frames(levels_NCHW: Tensor) -> Tensor:
    """Grey levels (N, C, H, W) float32 to frames (N, H, W, C) uint8, rounded half to even and clamped."""
    return torch.clamp(torch.round(levels_NCHW), 0, 255).permute(0, 2, 3, 1).to(torch.uint8)
