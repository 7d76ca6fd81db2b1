"""What the checkpoint itself gives for the images that artefacts are judged on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.precision import with_instance_statistics
from p2p_deploy.exporter.quality import Batch, check_inputs
from p2p_deploy.generators.frame_model import FrameModel, to_frames
from p2p_deploy.pixels import Pixels
from p2p_deploy.spec import ModelSpec


@dataclass(frozen=True)
class Reference:
    """A checkpoint's generator with the norm statistics that were asked for, and its outputs.

    Attributes:
        generator: eval mode, float32.
        spec: what it is, with uint8 frames.
        inputs: what it was run on at the spec's working size, one array for each input: frames (N, H, W, C) uint8, or
            label maps.
        outputs: what the generator makes of them, uint8.
        other_statistics: mean difference, in grey levels, to what the other kind of norm statistics would give; None
            for networks without BatchNorm.
    """

    generator: nn.Module
    spec: ModelSpec
    inputs: Batch
    outputs: Pixels
    other_statistics: float | None

    def values(self) -> torch.Tensor:
        """What the generator itself is given for the inputs, (N, C_in, H, W) float32."""
        return FrameModel(self.generator, self.spec).values(*map(torch.from_numpy, self.inputs))


def make_reference(generator: nn.Module, spec: ModelSpec, check: Path | None) -> Reference:
    """Run the checkpoint's generator on the images to check with.

    Args:
        generator: as it was loaded: eval mode, float32.
        spec: with the norm statistics and the size that artefacts will have.
        check: a folder of images, or None for the photographs that ship with the package.

    Raises:
        ExportError: the network gives NaN or infinity, or does not take what its spec says; or instance statistics were
            asked for, and it has no BatchNorm.
        InputError: the images cannot be used.
    """
    normalised = any(isinstance(module, nn.BatchNorm2d) for module in generator.modules())
    if spec.norm_stats == "instance" and not normalised:
        raise ExportError(
            f"{spec.arch} {dict(spec.arch_kwargs)} has no BatchNorm, so there are no statistics to choose. Export it "
            "without `norm_stats`."
        )
    spec = spec.with_io("uint8")
    inputs = check_inputs(spec, check)
    ways = {"running": generator}
    if normalised:
        ways["instance"] = with_instance_statistics(generator)
    outputs = {way: _run(network, spec, inputs) for way, network in ways.items()}
    difference = None
    if normalised:
        difference = float(np.abs(outputs["running"].astype(np.int16) - outputs["instance"]).mean())
    return Reference(ways[spec.norm_stats], spec, inputs, outputs[spec.norm_stats], difference)


@torch.inference_mode()
def _run(generator: nn.Module, spec: ModelSpec, inputs: Batch) -> Pixels:
    model = FrameModel(generator, spec)
    outputs = []
    for one in zip(*inputs, strict=True):
        try:
            levels = model.levels(*(torch.from_numpy(array)[None] for array in one))
        except RuntimeError as exc:
            raise ExportError(
                f"The network does not take what its ModelSpec says: {' '.join(str(exc).split())[:200]}. The "
                "checkpoint was altered; train it again."
            ) from exc
        broken = int((~torch.isfinite(levels)).sum())
        if broken:
            raise ExportError(
                f"The checkpoint itself gives {broken} values that are NaN or infinite on an image, so there is "
                "nothing to export. Train it again, or take an earlier checkpoint."
            )
        outputs.append(to_frames(levels).numpy())
    return np.concatenate(outputs)
