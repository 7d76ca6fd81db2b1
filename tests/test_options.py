"""Options that are declared once: what programs may set, and how a command line says it."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from p2p_deploy import options
from p2p_deploy.cli._command import with_flags
from p2p_deploy.errors import OptionError
from p2p_deploy.options import Option, Options, declared_options


@dataclass(frozen=True, kw_only=True)
class Cooking(Options):
    """Of a meal."""

    degrees: Annotated[float, Option("Heat.", low=0, high=300)] = 180
    decay: Annotated[float, Option("Cooling.", low=0, below=1)] = 0.5
    pan: Annotated[Literal["iron", "steel"] | None, Option("Of what.")] = None
    sizes: Annotated[tuple[tuple[int, int], ...], Option("Of plates.", parse=options.size)] = ()
    stir_often: Annotated[bool, Option("Whether.", name="stir")] = False
    cook: str = "who is not on the command line"


def test_what_is_declared_is_found():
    found = declared_options(Cooking)
    assert list(found) == ["degrees", "decay", "pan", "sizes", "stir_often"]
    assert found["pan"].choices == ("iron", "steel")
    assert found["pan"].optional
    assert found["sizes"].repeated
    assert found["stir_often"].name == "stir"
    assert found["degrees"].default == 180


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"degrees": -1}, "`degrees` must be at least 0; got -1"),
        ({"degrees": 301}, "`degrees` must be at most 300"),
        ({"degrees": float("nan")}, "finite"),
        ({"degrees": None}, "`degrees` must be a number"),
        ({"decay": 1}, "`decay` must be below 1"),
        ({"pan": "clay"}, "`pan` must be one of iron, steel; got clay"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, words):
    with pytest.raises(OptionError, match=words):
        Cooking(**changes)
    with pytest.raises(ValueError, match=words):
        Cooking(**changes)


def test_a_sentence_names_flags_on_the_command_line_only():
    sentence = 'Take `pan="steel"`, `stir_often=True`, not `stir_often=False`; `degrees`, `other=3` and `a b`.'
    said = with_flags(sentence, declared_options(Cooking))
    assert said == "Take --pan steel, --stir, not --no-stir; --degrees, `other=3` and `a b`."


@pytest.mark.parametrize("text", ["", "256", "256x", "x256", "1234567x1", "256x256x3", "-1x4"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="expected HxW in pixels"):
        options.size(text)
    assert options.size("12x34") == options.size("12X34") == (12, 34)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many"])
def test_what_is_no_count(text):
    with pytest.raises(ValueError, match="expected a number from 1 on, or auto"):
        options.count_or_auto(text)
    assert options.count_or_auto("auto") is None
    assert options.count_or_auto("12") == 12
