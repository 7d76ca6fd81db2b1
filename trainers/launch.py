"""Where a training runs: one device or several processes, at some precision."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from lightning_fabric.strategies import DDPStrategy, Strategy

from p2p_deploy.errors import DeviceError
from trainers.options import TrainingOptions

LOGS = "tensorboard"
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(options: TrainingOptions, run: Path) -> Fabric:
    """Fabric, launched and seeded: with several devices every other process starts here, running the same command.

    Under ``torchrun`` the processes are there already and each takes its place.

    Args:
        options: the device, how many, and the precision.
        run: the folder of the run; its TensorBoard logs are beside the checkpoint.

    Raises:
        DeviceError: a GPU is not there, or the precision is not for this device.
    """
    device = options.device
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", device):
        raise DeviceError(f"Unknown device {device!r}; expected auto, cpu or cuda:N such as cuda:0.")
    kind, _, number = device.partition(":")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", options.devices))
    nodes = int(os.environ.get("WORLD_SIZE", here)) // here
    last = int(number or 0) + here - 1
    if kind == "cuda" and last >= torch.cuda.device_count():
        raise DeviceError(
            f"cuda:{last} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs. "
            "Take `device=cpu`."
        )
    if kind == "cpu" and options.precision == "fp16":
        raise DeviceError("fp16 is for GPUs: on a CPU it loses small gradients and gains no speed. Take bf16 or fp32.")
    strategy: Strategy | str = "auto"
    if here * nodes > 1:
        backend = "gloo" if kind == "cpu" else None
        strategy = DDPStrategy(process_group_backend=backend, forward_sync_buffers=False)
    fabric = Fabric(
        accelerator=kind,
        devices=list(range(last - here + 1, last + 1)) if kind == "cuda" else here,
        num_nodes=nodes,
        strategy=strategy,
        precision=_PRECISIONS[options.precision],  # type: ignore[arg-type]
        loggers=TensorBoardLogger(run, name="", version=LOGS),
    )
    fabric.launch()
    torch.manual_seed(options.seed)  # in every process, so that their networks start alike
    return fabric
