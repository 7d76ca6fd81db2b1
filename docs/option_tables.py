"""The tables of options in a document, made of their declarations: ``python docs/option_tables.py docs/cli.md``.

A table stands between ``<!-- options of p2p COMMAND -->`` and ``<!-- end of options -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from p2p_deploy.cli import app

_TABLE = re.compile(r"(<!-- options of p2p (\w+) -->\n).*?(<!-- end of options -->)", re.S)


def with_tables(text: str) -> str:
    """A document with its tables as the options are now.

    Raises:
        KeyError: it names a command that there is not.
    """
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return _TABLE.sub(lambda found: f"{found[1]}{table(commands[found[2]])}\n{found[3]}", text)


def table(command: Any) -> str:
    """The options of a command in Markdown."""
    rows = [
        f"| {_flags(parameter)} | {_text(parameter)} |"
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
    ]
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def _flags(parameter: Any) -> str:
    value = f" {parameter.metavar}" if parameter.metavar else ""
    flags = [f"`{flag}{value}`" for flag in (*sorted(parameter.opts, key=len), *parameter.secondary_opts)]
    return ", ".join(flags).replace("|", "\\|")


def _text(parameter: Any) -> str:
    text = " ".join(str(parameter.help).split())
    return f"{text}{' Required.' if parameter.required else ''}"


def main() -> None:
    """Rewrite the documents that are named."""
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
