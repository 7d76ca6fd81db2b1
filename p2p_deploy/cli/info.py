"""``p2p info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from p2p_deploy.cli._arch import ArchEdges, ArchEncoded, ArchFeatures, ArchLabels, ArchPart, ArchUpsampling, assumptions
from p2p_deploy.cli._options import Json, print_json, printable


def info(
    file: Annotated[Path, typer.Argument(help="A checkpoint, an ONNX file or a plan.")],
    arch_part: ArchPart = None,
    arch_labels: ArchLabels = None,
    arch_edges: ArchEdges = None,
    arch_features: ArchFeatures = None,
    arch_encoded: ArchEncoded = None,
    arch_upsampling: ArchUpsampling = None,
    as_json: Json = False,
) -> None:
    """Say what a file is: network, pixels in and out, sizes, where it came from.

    ONNX files and plans are read without torch and onnx, plans also without a GPU.
    """
    from p2p_deploy.inspection import inspect_model

    arch = (arch_part, arch_labels, arch_edges, arch_features, arch_encoded, arch_upsampling)
    facts = inspect_model(file, assumptions(*arch) if any(value is not None for value in arch) else None)
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        print(printable(f"{key.replace('_', ' '):21} {_text(value)}"))  # the file may be from anywhere


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(_text(inner) for inner in value) or "-"
    return "-" if value is None else str(value)
