"""Imports go one way, heavy runtimes are loaded where they belong, and files stay small enough to hold in mind."""

import ast
from pathlib import Path

import pytest
from support import ROOT

# Each module may import from the rows above its own, and from its own package.
LAYERS = (
    ("errors",),
    ("image_spec",),
    ("spec",),
    ("files",),
    ("sidecar", "onnx_file", "pixels", "latents", "summary", "manifest"),
    ("generators", "media"),
    ("checkpoints", "listing"),
    ("layout",),
    ("placing",),
    ("jobs",),
    ("frame_model", "precision"),
    ("backends",),
    ("ledger", "export", "diagnosis", "inspection"),
    ("resume", "gallery", "sampling"),
    ("workers", "reach"),
    ("fitting",),
    ("devices",),
    ("stages",),
    ("outlet",),
    ("loop",),
    ("pipeline",),
    ("bench",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TRAINERS_MAY_USE = {
    "__init__",
    "errors",
    "image_spec",
    "spec",
    "files",
    "pixels",
    "generators",
    "media",
    "checkpoints",
    "frame_model",
}

# Where a runtime may be imported at all, and whether at the top of the module.
HEAVY = {
    "torch": {"generators", "checkpoints", "frame_model", "precision", "backends.torch", "export", "bench.builtin"},
    "onnxruntime": {"backends.onnxruntime"},
    "onnx": set(),
    "av": {
        *("media.ffmpeg", "media.encoders", "media.colour", "media.sound"),
        *("media.video_info", "media.video_sink", "demo.clips", "diagnosis"),
    },
    "tensorrt": set(),
    "tensorrt_rtx_bindings": set(),
    "lightning_fabric": set(),
}


def modules(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__") or "__init__", path


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
            yield node.module, top
            yield from ((f"{node.module}.{alias.name}", top) for alias in node.names)


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


def test_every_module_has_its_layer():
    assert {name.split(".")[0] for name, _ in modules("p2p_deploy")} - {"__init__"} == set(LEVEL)


def test_trainers_use_the_lower_layers_only():
    for name, path in modules("trainers"):
        for imported, _ in imports(path):
            assert package_of(imported) in {None, *TRAINERS_MAY_USE}, f"trainers.{name} imports {imported}"


def test_only_the_command_line_knows_the_trainers_and_loads_them_late():
    for name, path in modules("p2p_deploy"):
        for imported, top in imports(path):
            if imported.split(".")[0] == "trainers":
                assert name.startswith("cli."), name
                assert not top, name


def test_heavy_packages_are_imported_only_where_they_belong():
    for name, path in modules("p2p_deploy"):
        for imported, top in imports(path):
            heavy = imported.split(".")[0]
            if heavy in HEAVY:
                allowed = any(name == place or name.startswith(f"{place}.") for place in HEAVY[heavy])
                assert allowed, f"{name} imports {imported}"
                assert top or name in ("backends.onnxruntime", "bench.builtin", "diagnosis")


def test_commands_import_nothing_heavy_before_they_are_called():
    for name, path in modules("p2p_deploy"):
        if name.startswith("cli"):
            tops = {imported.split(".")[0] for imported, top in imports(path) if top}
            assert not tops & {"numpy", "cv2", "rich", *HEAVY}, name


def test_files_stay_small():
    for package in ("p2p_deploy", "trainers"):
        for name, path in modules(package):
            assert len(path.read_text().splitlines()) <= 350, f"{package}.{name} has two jobs?"
