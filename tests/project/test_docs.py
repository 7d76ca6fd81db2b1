"""What the documents promise is there, and what is there is documented."""

import re
import tomllib

import pytest
import typer
from helpers.support import ROOT

import p2p_deploy
from p2p_deploy import errors
from p2p_deploy.cli import app

PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md")
DOCS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
EVERYTHING = "\n".join(DOCS.values())


def commands():
    return typer.main.get_command(app).commands


def options():
    for name, command in commands().items():
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--") and option != "--help":
                    yield name, option


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_documented(name):
    assert f"p2p {name}" in EVERYTHING


@pytest.mark.parametrize(("command", "option"), sorted(options()))
def test_every_option_is_documented_under_its_command(command, option):
    section = re.search(rf"^## p2p {command}$(.*?)(?=^## |\Z)", DOCS["docs/cli.md"], re.M | re.S)
    assert section, f"docs/cli.md has no section for p2p {command}"
    assert f"`{option}" in section[1] or f"/{option}`" in section[1], f"{command} {option}"


def test_no_option_is_documented_that_does_not_exist():
    for command, body in re.findall(r"^## p2p (\w+)$(.*?)(?=^## |\Z)", DOCS["docs/cli.md"], re.M | re.S):
        known = {option for name, option in options() if name == command}
        for mentioned in re.findall(r"`(--[a-z-]+)", body):
            assert mentioned in known, f"docs/cli.md: p2p {command} {mentioned}"


def test_every_command_and_option_explains_itself():
    for name, command in commands().items():
        assert command.help
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_links_between_documents_lead_somewhere():
    for name, text in DOCS.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name}: {target}"


def test_the_tree_of_exceptions_is_drawn_as_it_is():
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__)
    defined = [
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert drawn == [name for name in defined if name != "P2PError"]
    assert all(issubclass(getattr(errors, name), errors.P2PError) for name in drawn)


def test_the_constraints_pin_what_the_extras_ask_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    wanted = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    for requirement in wanted:
        assert re.match(r"[\w-]+", requirement)[0].lower() in pinned, requirement
    assert pinned["torch"] == "2.13.0"


def test_the_changelog_knows_this_version():
    assert f"## [{p2p_deploy.__version__}] - 20" in (ROOT / "CHANGELOG.md").read_text()
