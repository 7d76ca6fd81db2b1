"""Options, declared once: the field of a frozen dataclass with an ``Option`` beside its type.

    @dataclass(frozen=True, kw_only=True)
    class RunOptions(Options):
        \"\"\"How a run goes about its work.\"\"\"

        limit: Annotated[int | None, Option("Do only so many inputs, the first ones in order.", low=1)] = None

From that come the checks of programs that make a ``RunOptions``, the flags of the command line, their help, and the
tables in the documents. Sentences, of help and of errors alike, write an option as Python has it, in backquotes:
`` `limit=10` `` or `` `limit` ``; the command line shows it as a flag.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from p2p_deploy.errors import OptionError


@dataclass(frozen=True, slots=True)
class Option:
    """What an option is, beside its type.

    Attributes:
        help: what it does, in sentences; without the default unless ``None`` stands for it.
        low: the smallest value.
        high: the largest value.
        below: a number that all values are less than.
        parse: makes the value of the text of a command line; raises ValueError, which says what was expected. Where a
            field holds a tuple, the option may be repeated, and each text is parsed.
        once: ``parse`` makes the whole tuple of one text.
        shown: how values are written, such as ``HxW``; default: by their type.
        name: what it is called on a command line, where that is not the field's name.
        short: a single letter for it there.
    """

    help: str
    low: float | None = None
    high: float | None = None
    below: float | None = None
    parse: Callable[[str], Any] | None = None
    once: bool = False
    shown: str | None = None
    name: str | None = None
    short: str | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """A field of an options class.

    Attributes:
        field: its name.
        type: its type, without None.
        optional: whether it may be None.
        repeated: whether it holds a tuple of any length of that type.
        option: what was declared.
        default: its default, or ``dataclasses.MISSING``.
    """

    field: str
    type: Any
    optional: bool
    repeated: bool
    option: Option
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """The values there are, where they are named one by one."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def shown(self) -> str:
        """How its values are written."""
        return self.option.shown or "|".join(self.choices) or _SHOWN.get(self.type, "TEXT")

    @property
    def name(self) -> str:
        """Its name on a command line, without dashes in front."""
        return self.option.name or self.field.replace("_", "-")

    def check(self, value: Any) -> None:
        """Raise OptionError for a value that is not one of this option's."""
        if value is None:
            if not self.optional:
                raise OptionError(f"`{self.field}` must be {_KINDS.get(self.type, 'set')}; got None.")
            return
        for each in value if self.repeated else (value,):
            if self.choices and each not in self.choices:
                raise OptionError(f"`{self.field}` must be one of {', '.join(self.choices)}; got {each}.")
            if isinstance(each, int | float) and not isinstance(each, bool):
                self._check_number(each)

    def _check_number(self, value: float) -> None:
        option = self.option
        if math.isnan(value) or math.isinf(value):
            raise OptionError(f"`{self.field}` must be a finite number; got {value}.")
        if option.low is not None and value < option.low:
            raise OptionError(f"`{self.field}` must be at least {option.low:g}; got {value}.")
        if option.high is not None and value > option.high:
            raise OptionError(f"`{self.field}` must be at most {option.high:g}; got {value}.")
        if option.below is not None and value >= option.below:
            raise OptionError(f"`{self.field}` must be below {option.below:g}; got {value}.")


_SHOWN = {int: "N", float: "X", Path: "PATH"}
_KINDS = {int: "a number", float: "a number", bool: "True or False", str: "a text"}


class Options:
    """The base of all options: frozen, keyword-only dataclasses. A field without an ``Option`` is for programs only."""

    def __post_init__(self) -> None:
        for name, declared in declared_options(type(self)).items():
            declared.check(getattr(self, name))


def declared_options(options: type[Options]) -> Mapping[str, Declared]:
    """The options that a class declares, by field, in order."""
    if options not in _KNOWN:
        hints = get_type_hints(options, include_extras=True)
        found = {}
        for item in fields(options):  # type: ignore[arg-type]
            hint = hints[item.name]
            option = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Option)), None)
            if option is not None:
                found[item.name] = _declare(item.name, get_args(hint)[0], option, item.default)
        _KNOWN[options] = types.MappingProxyType(found)
    return _KNOWN[options]


_KNOWN: dict[type[Options], Mapping[str, Declared]] = {}


def _declare(name: str, kind: Any, option: Option, default: Any) -> Declared:
    optional = False
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [part for part in get_args(kind) if part is not type(None)]
        optional = len(kinds) < len(get_args(kind))
        (kind,) = kinds
    repeated = not option.once and get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis
    return Declared(name, get_args(kind)[0] if repeated else kind, optional, repeated, option, default)
