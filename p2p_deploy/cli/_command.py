"""Commands made of declared options: a parameter that is an options class becomes a flag for each of its fields.

    def sample(model: Annotated[Path, typer.Argument(...)], options: SampleOptions, loading: LoadOptions) -> None: ...

``expanded`` makes of it what Typer is given: a function with ``--count``, ``--seed``, ``--device`` and so on, which
calls ``sample`` with a ``SampleOptions`` and a ``LoadOptions``.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal, Optional

import typer

from p2p_deploy.errors import OptionError
from p2p_deploy.options import Declared, Option, Options, declared_options

Names = Mapping[str, Declared]
DECLARED: dict[str, Names] = {}  # of every command, by its name
_running: list[str] = []  # the command that is being called


@dataclass(frozen=True)
class OneOf:
    """Beside the type of a parameter: it gets those options that were given, of any of several classes, by name.

    Attributes:
        classes: the classes by what the user calls them.
    """

    classes: Mapping[str, type[Options]]

    def declared(self) -> dict[str, Declared]:
        """Each option once, optional, with a help that says whose it is and what its default is."""
        found: dict[str, Declared] = {}
        for name in dict.fromkeys(name for each in self.classes.values() for name in declared_options(each)):
            having = {whose: declared_options(each).get(name) for whose, each in self.classes.items()}
            first = next(declared for declared in having.values() if declared)
            found[name] = Declared(name, self._type(having), True, first.repeated, self._option(first, having), None)
        return found

    def made(self, whose: str, given: Mapping[str, Any]) -> Any:
        """An instance of one of the classes; raises BadParameter for an option or a value that it does not have."""
        kind = self.classes[whose]
        declared = declared_options(kind)
        for name in given.keys() - declared.keys():
            flag = f"'--{self.declared()[name].name}'"
            raise typer.BadParameter(f"{whose} has no such option", param_hint=flag)
        return _options(kind, declared, given)

    def _type(self, having: Mapping[str, Declared | None]) -> Any:
        kinds = [declared.type for declared in having.values() if declared]
        if not all(declared is None or declared.choices for declared in having.values()):
            return kinds[0]
        choices = dict.fromkeys(choice for declared in having.values() if declared for choice in declared.choices)
        return Literal[tuple(choices)]

    def _option(self, first: Declared, having: Mapping[str, Declared | None]) -> Option:
        systems = [whose for whose, declared in having.items() if declared]
        whose = "" if len(systems) == len(having) else f"{', '.join(systems)}: "
        defaults: dict[str, list[str]] = {}
        for system, declared in having.items():
            if declared and (text := default_text(declared)):
                defaults.setdefault(text, []).append(system)
        if len(defaults) == 1 and len(next(iter(defaults.values()))) == len(systems):
            said = f" Default: {next(iter(defaults))}."
        else:
            said = "".join(f" Default of {', '.join(of)}: {text}." for text, of in defaults.items())
        option = first.option
        return Option(
            f"{whose}{option.help}{said}",
            parse=option.parse,
            shown=option.shown,
            name=option.name,
            short=option.short,
        )


def in_flags(sentence: str, of: str | None = None) -> str:
    """A sentence of the library with its options as flags: those of ``of``, else of the running command, else any."""
    known: dict[str, Declared] = {}
    for command in (*DECLARED, *_running, *([of] if of else [])):
        known.update(DECLARED[command])
    return with_flags(sentence, known)


_MENTION = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\n]+))?`")


def with_flags(sentence: str, names: Mapping[str, Declared]) -> str:
    """A sentence as the command line says it: the options it mentions as flags, so far as ``names`` has them."""

    def flag(found: re.Match[str]) -> str:
        declared = names.get(found[1])
        if declared is None:
            return found[0]
        value = (found[2] or "").strip("\"'")
        if declared.type is bool:
            return f"--no-{declared.name}" if value == "False" else f"--{declared.name}"
        return f"--{declared.name} {value}".rstrip()

    return _MENTION.sub(flag, sentence)


def default_text(declared: Declared) -> str:
    """The default as the help says it; empty where there is none, or where the help says what None means."""
    value = declared.default
    if value is None or value is MISSING or value is False or isinstance(value, tuple):
        return ""
    if value is True:
        return "yes"
    return f"{value:g}" if isinstance(value, float) else str(value)


def expanded(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as Typer takes it. Its options are remembered in ``DECLARED``."""
    signature = inspect.signature(command, eval_str=True)
    groups = {
        parameter.name: (parameter.annotation, declared)
        for parameter in signature.parameters.values()
        if (declared := _group(parameter.annotation)) is not None
    }
    names = {field: each for _, declared in groups.values() for field, each in declared.items()}
    DECLARED[name] = types.MappingProxyType(names)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name in groups:
            parameters += [_parameter(each, names) for each in groups[parameter.name][1].values()]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run_command(**values: Any) -> None:
        made = {
            group: _made(kind, declared, {field: values.pop(field) for field in declared})
            for group, (kind, declared) in groups.items()
        }
        _running[:] = [name]
        command(**values, **made)

    del run_command.__wrapped__
    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run_command


def _group(annotation: Any) -> Names | None:
    """The options that a parameter of this type stands for; None for any other type."""
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return declared_options(annotation)
    several = next((extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, OneOf)), None)
    return several.declared() if several else None


def _parameter(declared: Declared, names: Names) -> inspect.Parameter:
    option = declared.option
    kind: Any = str if option.parse else declared.type
    low, high = (option.low, option.high) if kind in (int, float) else (None, None)
    flags = [f"--{declared.name}"]
    if kind is bool and (declared.optional or declared.default is True):
        flags = [f"--{declared.name}/--no-{declared.name}"]
    default, said = declared.default, ""
    if declared.default is not MISSING and (text := default_text(declared)):
        said = f" Default: {text}."
    if option.parse or declared.repeated:
        default = None if declared.default is not MISSING else MISSING
    hint = typer.Option(
        *flags,
        *([f"-{option.short}"] if option.short else []),
        help=with_flags(option.help, names) + said,
        metavar=None if kind is bool else declared.shown,
        show_default=False,
        min=low,
        max=high,
    )
    if declared.repeated:
        kind = list[kind]
    if default is None:
        kind = Optional[kind]  # noqa: UP045 - Literals of a tuple have no |
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        declared.field,
        inspect.Parameter.KEYWORD_ONLY,
        default=empty if default is MISSING else default,
        annotation=Annotated[kind, hint],
    )


def _made(kind: Any, declared: Names, texts: Mapping[str, Any]) -> Any:
    """An instance of an options class from what was given; or, of ``OneOf``, what was given."""
    given = {field: _value(declared[field], value) for field, value in texts.items() if value is not None}
    return _options(kind, declared, given) if isinstance(kind, type) else given


def _options(kind: type[Options], declared: Names, given: Mapping[str, Any]) -> Options:
    try:
        return kind(**given)
    except OptionError as exc:
        raise typer.BadParameter(with_flags(str(exc), declared)) from exc


def _value(declared: Declared, given: Any) -> Any:
    parse = declared.option.parse
    if not parse:
        return tuple(given) if declared.repeated else given
    try:
        return tuple(map(parse, given)) if declared.repeated else parse(given)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint=f"'--{declared.name}'") from exc
