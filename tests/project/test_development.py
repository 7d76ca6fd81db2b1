"""What is said twice about development says the same: versions of tools and of Python."""

import re
import tomllib

from helpers.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_pre_commit_runs_the_pinned_ruff():
    pinned = re.search(r"^ruff==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    hook = re.search(r"ruff-pre-commit\n\s+rev: v(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())[1]
    assert hook == pinned


def test_the_workflow_runs_every_python_that_is_declared():
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    declared = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith("Programming Language")]
    assert re.findall(r'"(3\.\d+)"', workflow) == declared
    assert "run: make test\n" in workflow


def test_both_packages_say_that_they_are_typed():
    for package in ("p2p_deploy", "trainers"):
        assert (ROOT / package / "py.typed").is_file()
