"""The library is as wide as the command line: public names, examples that run, one style."""

import dataclasses
import doctest
import inspect
import re

import numpy as np
import pytest
from helpers.support import ROOT, drawing_generator, latent_spec, photo_crops, write_images

import p2p_deploy
import trainers
from p2p_deploy import errors
from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.options import Options
from p2p_deploy.reports import Report

FUNCTIONS = ("bench", "export", "inspect", "load", "run", "sample", "verify")


@pytest.fixture(scope="module")
def place(checkpoint, exported, tmp_path_factory):
    """A folder with what the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "facades.pt").write_bytes(checkpoint.read_bytes())
    (folder / "facades.onnx").write_bytes(exported.onnx.read_bytes())
    spec = latent_spec()
    save_checkpoint(folder / "digits.pt", spec, drawing_generator(spec), {})
    p2p_deploy.export(folder / "digits.pt", folder / "digits.onnx")
    write_images(folder / "photos", photo_crops(2, 64))
    write_images(folder / "pairs" / "train", np.concatenate([photo_crops(2, 40), 255 - photo_crops(2, 40)], axis=2))
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """An empty folder with links to those files, as the current one."""
    for path in place.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "facades.onnx").unlink()
    (tmp_path / "facades.onnx").write_bytes((place / "facades.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [*FUNCTIONS, "train"])
def test_the_example_in_the_docstring_runs(name, here):
    if name == "export":
        (here / "facades.onnx").unlink()
    function = trainers.train if name == "train" else getattr(p2p_deploy, name)
    example = doctest.DocTestParser().get_doctest(
        inspect.getdoc(function), {"frames_NHWC": photo_crops(2, 64)}, name, None, 0
    )
    assert example.examples
    failures = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=failures.append)
    assert not failures, "".join(failures)


def test_the_examples_in_the_document_run(here, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) >= 5
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert "2 done, 0 failed" in said
    assert "missing.onnx does not exist" in said
    assert "`batch` must be at least 1; got 0" in said


@pytest.mark.parametrize("package", [p2p_deploy, trainers], ids=lambda package: package.__name__)
def test_every_public_name_is_there_and_nothing_else(package):
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert {*FUNCTIONS, "Report"} <= set(p2p_deploy.__all__)
    assert {"train", "check_data", "TrainingReport"} <= set(trainers.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


def test_every_exception_is_public():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined <= set(p2p_deploy.__all__)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "inspect"])
def test_one_style(name):
    """What is worked on, options, then callbacks by keyword; a report comes back."""
    parameters = inspect.signature(getattr(p2p_deploy, name)).parameters
    assert "options" in parameters
    kinds = [parameter.kind for parameter in parameters.values()]
    after = list(parameters).index("options") + 1
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds[after:])
    assert isinstance(parameters["options"].default, Options)


def test_options_and_reports_are_frozen():
    for name in p2p_deploy.__all__:
        value = getattr(p2p_deploy, name)
        if isinstance(value, type) and issubclass(value, Options | Report) and value is not Report:
            assert dataclasses.is_dataclass(value), name
            assert value.__dataclass_params__.frozen, name


def test_a_report_is_json(exported):
    import json

    report = json.loads(exported.to_json())
    assert report == exported.to_dict()
    assert report["quality"]["max_levels"] <= 1
    assert report["plan"]["executed"] is False
