"""Each option is declared once, and only the command line knows what a flag is."""

import ast
import re
import runpy

import pytest
import typer
from helpers.support import ROOT

from p2p_deploy.cli import app
from p2p_deploy.cli._command import DECLARED

LIBRARY = [
    path
    for package in ("p2p_deploy", "trainers")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "cli" not in path.parts
]
SOURCES = [*LIBRARY, *sorted((ROOT / "p2p_deploy" / "cli").glob("*.py"))]
with_tables = runpy.run_path(str(ROOT / "docs" / "option_tables.py"))["with_tables"]
OWN = {"version", "debug"}  # of p2p itself and not of a command


def calls(path, name):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in LIBRARY])
def test_the_library_speaks_of_no_flag(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search("--[a-zA-Z]", node.value), f"line {node.lineno}: {node.value}"


def test_flags_are_made_in_one_place():
    made = {path.name: len(list(calls(path, "typer.Option"))) for path in SOURCES}
    assert {name: count for name, count in made.items() if count} == {"_command.py": 1, "__init__.py": len(OWN)}


def test_no_declaration_is_written_twice():
    helps = [
        ast.literal_eval(call.args[0])
        for path in SOURCES
        for call in calls(path, "Option")
        if call.args and isinstance(call.args[0], ast.Constant)
    ]
    assert len(helps) > 60
    assert sorted(helps) == sorted(set(helps))


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_option_of_a_command_is_declared(name):
    command = typer.main.get_command(app).commands[name]
    options = [item.name for item in command.params if item.param_type_name == "option" and item.name != "help"]
    assert options == list(DECLARED[name])
    flags = [flag for item in command.params for flag in (*item.opts, *item.secondary_opts)]
    assert sorted(flags) == sorted(set(flags))


def test_the_tables_of_the_documents_are_those_of_the_declarations():
    """Where this fails: make docs."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert with_tables(text) == text
    for name in DECLARED:
        assert f"<!-- options of p2p {name} -->" in text, f"p2p {name} has no table"


def test_a_stale_table_is_noticed():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    stale = text.replace("| `--crf N` |", "| `--crf M` |")
    assert stale != text
    assert with_tables(stale) == text
