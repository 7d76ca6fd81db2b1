"""Opening the models of a run: one, or one a device, and plans that have to be built again first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from p2p_deploy import backends
from p2p_deploy.backends import Model
from p2p_deploy.errors import StalePlan
from p2p_deploy.machine import available_cores
from p2p_deploy.options import LoadOptions


def load(
    path: str | Path,
    options: LoadOptions = LoadOptions(),
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> Model:
    """Open a model for running; its suffix says which runtime.

        >>> import p2p_deploy
        >>> with p2p_deploy.load("facades.onnx") as model:
        ...     outputs_NHWC = model(frames_NHWC)
        >>> outputs_NHWC.shape, outputs_NHWC.dtype
        ((2, 64, 64, 3), dtype('uint8'))

    Args:
        path: an ``.onnx`` file, a checkpoint (``.pt``, ``.pth``, ``.ckpt``) or a TensorRT ``.plan``.
        options: where it computes, and what may be done to open it.
        on_step: called with what is done, where a plan is built again.

    Returns:
        The model: call it with (N, H, W, C) uint8 frames. It is a context manager.

    Raises:
        ModelFileError, CheckpointError, SpecError: the file cannot be used.
        DeviceError: the device cannot be used; there is no silent fallback to the CPU.
        MissingDependency: the runtime is not installed.
        ExportError, OutputError: a plan could not be built again.
    """
    try:
        return backends.load(path, options)
    except StalePlan as exc:
        if not options.rebuild:
            raise
        from p2p_deploy.backends.tensorrt.preflight import device_index, require_trust
        from p2p_deploy.exporter.tensorrt.rebuild import rebuild_plan
        from p2p_deploy.spec.sidecar import read_sidecar

        path = Path(path)
        on_step(str(exc))
        require_trust(path, read_sidecar(path), options.trust_plan)  # the new plan carries code too, and is refused
        rebuild_plan(path, on_step=on_step, device=device_index(options.device))
        return backends.load(path, options)


@contextlib.contextmanager
def load_on_each(
    path: str | Path,
    options: LoadOptions,
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> Iterator[list[Model]]:
    """Open a model once for each of the devices in ``options.device``, such as ``cuda:0,cuda:1``.

    Several on the CPU share its cores. Raises like ``load``.
    """
    devices = options.device.split(",")
    threads = max(1, available_cores() // devices.count("cpu")) if devices.count("cpu") > 1 else options.threads
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(load(path, replace(options, device=device, threads=threads), on_step=on_step))
            for device in devices
        ]
