"""``p2p info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from p2p_deploy.cli._command import in_flags
from p2p_deploy.cli._output import JsonOptions, print_json, printable
from p2p_deploy.options import Assumptions


def info(
    file: Annotated[Path, typer.Argument(help="A checkpoint, an ONNX file or a plan.")],
    assume: Assumptions,
    output: JsonOptions,
) -> None:
    """Say what a file is: network, pixels in and out, sizes, where it came from.

    ONNX files and plans are read without torch and onnx, plans also without a GPU.
    """
    from p2p_deploy.inspection import inspect

    facts = inspect(file, assume)
    if output.as_json:
        print_json(facts)
        return
    for key, value in facts.to_dict().items():
        print(printable(in_flags(f"{key.replace('_', ' '):21} {_text(value)}")))  # the file may be from anywhere


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(_text(inner) for inner in value) or "-"
    return "-" if value is None else str(value)
