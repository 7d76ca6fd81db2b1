"""PyTorch in eager mode: runs a checkpoint as it is, and is the reference that exports are compared with."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DeviceError, Failed, OutOfMemory
from p2p_deploy.generators.frame_model import FrameModel, to_frames
from p2p_deploy.options import LoadOptions


class TorchModel(Model):
    """A checkpoint, run by PyTorch in float32 with its running norm statistics.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        DeviceError: the GPU that was asked for is not there.
    """

    name = "torch"
    precision = "fp32"

    def __init__(self, path: Path, options: LoadOptions = LoadOptions()) -> None:
        device = "cpu" if options.device == "auto" else options.device
        if device != "cpu" and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
            raise DeviceError(
                f"{device} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs. "
                "Take `device=cpu`."
            )
        checkpoint = load_checkpoint(path)
        super().__init__(checkpoint.spec, device)
        self._model = FrameModel(checkpoint.generator, checkpoint.spec).to(device).eval()

    @torch.inference_mode()
    def submit(self, slot: Slot) -> None:
        """Run the batch and copy the result into the slot."""
        try:
            inputs = [torch.from_numpy(rows[: slot.count]).to(self.device) for rows in slot.inputs]
            levels = self._model.levels(*inputs)
            if not torch.isfinite(levels).all():
                raise Failed("The network gives values that are NaN or infinite. Take an earlier checkpoint.")
            torch.from_numpy(slot.output[: slot.count]).copy_(to_frames(levels))
        except RuntimeError as exc:
            reason = str(exc).partition("\n")[0]
            error = OutOfMemory if re.search("can't allocate memory|out of memory", reason, re.I) else Failed
            raise error(f"PyTorch failed on a batch of {slot.count} on {self.device}: {reason}") from exc

    def wait(self, slot: Slot) -> None:
        """Nothing to do: ``submit`` computes."""

    def versions(self) -> dict[str, str]:
        """Runtime, device and threads."""
        return {
            "torch": torch.__version__,
            "device": self.device if self.device == "cpu" else torch.cuda.get_device_name(self.device),
            "threads": str(torch.get_num_threads()),
        }
