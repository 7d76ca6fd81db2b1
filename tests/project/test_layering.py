"""Imports go one way, heavy runtimes are loaded where they belong, and files stay small enough to hold in mind."""

import ast
import graphlib
import re
from pathlib import Path

import pytest
from helpers.support import ROOT

# Each module may import from the rows above its own, and from its own package.
LAYERS = (
    ("errors",),
    ("files", "machine", "reports"),
    ("spec",),
    ("options",),
    ("pixels", "latents"),
    ("generators", "media"),
    ("checkpoints",),
    ("backends",),
    ("exporter", "inspection", "diagnosis", "sampling"),
    ("runner",),
    ("gallery", "benchmark"),
    ("demo",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TRAINERS_MAY_USE = {
    "__init__",
    "errors",
    "files",
    "machine",
    "options",
    "reports",
    "spec",
    "pixels",
    "generators",
    "media",
    "checkpoints",
}

# Where a runtime may be imported at all, and whether at the top of the module.
HEAVY = {
    "torch": {"generators", "checkpoints", "backends.torch", "exporter", "benchmark.builtin"},
    "onnxruntime": {"backends.onnxruntime"},
    "onnx": set(),
    "av": {"media.video", "demo.clips", "diagnosis"},
    "tensorrt": set(),
    "tensorrt_rtx_bindings": set(),
    "lightning_fabric": set(),
}


def modules(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__") or "__init__", path


OURS = {f"{package}.{name}" for package in ("p2p_deploy", "trainers") for name, _ in modules(package)}


def imports(path: Path):
    """(imported module, whether at the top of the file and for real) of every import statement."""
    tree = ast.parse(path.read_text())
    type_checking = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        top = node in tree.body
        if id(node) in type_checking:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            submodules = [name for name in names if name in OURS]
            yield from ((name, top) for name in submodules or [node.module, *names])


def package_of(name):
    """``errors`` for p2p_deploy.errors and p2p_deploy.errors.P2PError; None for what is not ours."""
    parts = name.split(".")
    if parts[0] != "p2p_deploy":
        return None
    return next((part for part in parts[1:2] if part in LEVEL), "__init__")


@pytest.mark.parametrize(("name", "path"), [pytest.param(*found, id=found[0]) for found in modules("p2p_deploy")])
def test_imports_go_one_way(name, path):
    if name == "__init__":
        return
    own = name.split(".")[0]
    for imported, _ in imports(path):
        target = package_of(imported)
        if target in (None, "__init__", own):
            continue
        assert LEVEL[target] < LEVEL[own], f"{name} imports {imported}"


def test_no_module_leads_back_to_itself():
    """Imports inside functions count too: a lazy circle is a circle."""
    graph = {name: set() for name, _ in modules("p2p_deploy")}
    for name, path in modules("p2p_deploy"):
        for imported, _ in imports(path):
            target = imported.removeprefix("p2p_deploy.")
            if imported != target and target in graph and "__init__" not in (name, target):
                graph[name].add(target)
    sorter = graphlib.TopologicalSorter(graph)
    sorter.prepare()  # raises CycleError, which names the modules


def test_the_top_level_is_small():
    assert len(list((ROOT / "p2p_deploy").glob("*.py"))) <= 12
    assert len(LAYERS) <= 14


def test_every_module_has_its_layer():
    assert {name.split(".")[0] for name, _ in modules("p2p_deploy")} - {"__init__"} == set(LEVEL)


def test_the_document_has_the_same_layers():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", text, re.M)
    drawn = [(int(level), name) for level, names in rows for name in re.findall(r"`(\w+)`", names)]
    assert drawn == [(level, name) for level, names in enumerate(LAYERS[:-1], start=1) for name in names]


def test_trainers_use_the_lower_layers_only():
    for name, path in modules("trainers"):
        for imported, _ in imports(path):
            assert package_of(imported) in {None, *TRAINERS_MAY_USE}, f"trainers.{name} imports {imported}"


def test_only_the_command_line_knows_the_trainers_and_loads_them_late():
    for name, path in modules("p2p_deploy"):
        for imported, top in imports(path):
            if imported.split(".")[0] == "trainers":
                assert name.startswith("cli."), name
                assert not top or imported.startswith("trainers.options"), name  # which loads nothing


def test_heavy_packages_are_imported_only_where_they_belong():
    for name, path in modules("p2p_deploy"):
        for imported, top in imports(path):
            heavy = imported.split(".")[0]
            if heavy in HEAVY:
                allowed = any(name == place or name.startswith(f"{place}.") for place in HEAVY[heavy])
                assert allowed, f"{name} imports {imported}"
                assert top or name in ("backends.onnxruntime", "benchmark.builtin", "diagnosis")


def test_commands_import_nothing_heavy_before_they_are_called():
    for name, path in modules("p2p_deploy"):
        if name.startswith("cli"):
            tops = {imported.split(".")[0] for imported, top in imports(path) if top}
            assert not tops & {"numpy", "cv2", "rich", *HEAVY}, name


def test_files_stay_small():
    for package in ("p2p_deploy", "trainers"):
        for name, path in modules(package):
            assert len(path.read_text().splitlines()) <= 350, f"{package}.{name} has two jobs?"
