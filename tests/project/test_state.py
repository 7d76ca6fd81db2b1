"""State has an owner: whether an input is finished, or has failed, is decided by its own methods, in one file."""

import ast
from dataclasses import fields

import pytest
from helpers.support import ROOT

from p2p_deploy.runner.tracker import InputState

PACKAGE = ROOT / "p2p_deploy"
FIELDS = {field.name for field in fields(InputState)}
MUTATING = {"abort", "add", "clear", "close", "difference_update", "discard", "pop", "remove", "update", "write"}


def base(node: ast.AST) -> ast.AST:
    """``x.notes`` of ``x.notes[0][1]``."""
    while isinstance(node, ast.Subscript | ast.Starred):
        node = node.value
    return node


def is_field_of_another(node: ast.AST) -> bool:
    """Whether it is ``x.f`` for a field f of InputState; ``self`` is the owner, or of another class."""
    node = base(node)
    return (
        isinstance(node, ast.Attribute)
        and node.attr in FIELDS
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    )


def changes(source: str) -> list[str]:
    """What in a module assigns, deletes or mutates a field of an InputState, as far as its text can tell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        stores = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) and is_field_of_another(node)
        calls = isinstance(node, ast.Call)
        mutates = (
            calls
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in MUTATING
            and is_field_of_another(node.func.value)
        )
        hidden = calls and ast.unparse(node.func).rpartition(".")[2] in ("setattr", "__setattr__", "delattr")
        if stores or mutates or hidden:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE / "runner").glob("*.py")), ids=lambda path: path.name)
def test_the_state_of_an_input_is_changed_by_its_own_methods_only(path):
    assert not changes(path.read_text())


def test_nobody_else_has_the_state_of_an_input_or_adds_methods_to_it():
    names = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "InputState" in path.read_text()}
    assert {name.partition("/")[0] for name in names} == {"runner"}
    assert InputState.__module__ == "p2p_deploy.runner.tracker"
    assert not InputState.__subclasses__()


@pytest.mark.parametrize(
    "statement",
    [
        "state.error = 'no'",
        "state.error: str = 'no'",
        "row.state.settled += 1",
        "state.notes |= {'padded'}",
        "state.notes.update(notes)",
        "state.notes.add('padded')",
        "state.notes[0] = 1",
        "a, state.listed = 1, True",
        "[*state.notes] = notes",
        "del state.sink",
        "state.sink.close()",
        "states[0].source.close()",
        "setattr(state, 'error', 'no')",
        "object.__setattr__(state, 'error', 'no')",
        "for state.issued in range(3): pass",
        "with open_sink(path) as state.sink: pass",
    ],
)
def test_every_way_of_changing_it_would_be_found(statement):
    assert changes(statement)


def test_fields_of_others_and_reading_are_no_change():
    assert not changes("self.notes = state.notes\nprint(state.error)\nlen(state.notes)\nself.source.close()")
