"""``p2p check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_deploy.cli._command import in_flags
from p2p_deploy.cli._output import JsonOptions, print_json, printable
from p2p_deploy.errors import require

SHOWN = 20


def check(
    data: Annotated[Path, typer.Argument(help="The folder that p2p train would be given.")],
    output: JsonOptions,
) -> None:
    """Read a data set and name what is wrong with it, before an epoch is spent."""
    for module in ("torch", "lightning_fabric"):
        require(module, "train", "Training")
    from trainers import check_data

    findings = check_data(data)
    if output.as_json:
        print_json(findings)
    else:
        counts = ", ".join(f"{count} in {where}" for where, count in findings.pictures.items())
        print(printable(f"{findings.layout}: {counts or 'nothing'}"))
        for (height, width), count in findings.sizes.most_common(3):
            print(f"  {count} of {height}x{width} pixels")
        for remark in findings.remarks:
            print(printable(in_flags(f"  {remark}", "train")))
        for problem in findings.problems[:SHOWN]:
            print(printable(in_flags(f"problem: {problem}", "train")))
        if len(findings.problems) > SHOWN:
            print(f"and {len(findings.problems) - SHOWN} more; --json names all")
        if not findings.problems:
            print("nothing wrong was found")
    if findings.problems:
        raise typer.Exit(1)
