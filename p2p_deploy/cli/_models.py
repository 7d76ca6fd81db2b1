"""How commands open a model on one device or several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_deploy.cli._options import say
from p2p_deploy.errors import ModelFileError, StalePlan

if TYPE_CHECKING:
    from p2p_deploy.backends import Model


def is_plan(path: Path) -> bool:
    """Whether a model is a TensorRT plan by its suffix."""
    from p2p_deploy.backends import BACKENDS

    return BACKENDS.get(path.suffix.lower(), ("",))[0] == "tensorrt"


def open_model(path: Path, device: str, *, rebuild: bool = False, trust_plan: bool = False, **options: int) -> Model:
    """Open a model; with ``rebuild``, a plan that does not fit is first built again.

    Raises:
        ModelFileError: an option for plans was given for another model; and whatever opening raises.
    """
    from p2p_deploy.backends import load

    if not is_plan(path):
        for option, given in (("--rebuild", rebuild), ("--trust-plan", trust_plan)):
            if given:
                raise ModelFileError(f"{option} is for TensorRT plans, and {path} is none. Leave it out.")
        return load(path, device=device, **options)
    try:
        return load(path, device=device, trust_plan=trust_plan)
    except StalePlan as exc:
        if not rebuild:
            raise
        from p2p_deploy.backends.tensorrt.preflight import device_index, require_trust
        from p2p_deploy.exporter.tensorrt.rebuild import rebuild_plan
        from p2p_deploy.spec.sidecar import read_sidecar

        say(f"… {exc}")
        require_trust(path, read_sidecar(path), trust_plan)  # the new plan would carry code too, and be refused
        rebuild_plan(path, on_step=lambda step: say(f"… {step}"), device=device_index(device))
        return load(path, device=device, trust_plan=trust_plan)


@contextlib.contextmanager
def open_models(
    path: Path, devices: list[str], *, rebuild: bool = False, trust_plan: bool = False
) -> Iterator[list[Model]]:
    """Open a model once for each device; several on the CPU share its cores."""
    from p2p_deploy.backends import BACKENDS
    from p2p_deploy.machine import available_cores

    options = {}
    if devices.count("cpu") > 1 and BACKENDS.get(path.suffix.lower(), ("",))[0] == "onnxruntime":
        options["threads"] = max(1, available_cores() // devices.count("cpu"))
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                open_model(path, device, rebuild=rebuild, trust_plan=trust_plan, **(options if device == "cpu" else {}))
            )
            for device in devices
        ]
