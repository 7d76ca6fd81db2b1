"""What values of a spec, and of a generator, have to be."""

from __future__ import annotations

from typing import Any

from p2p_deploy.errors import SpecError


def check_choice(label: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise SpecError unless ``value`` is one of those allowed."""
    if value not in allowed:
        raise SpecError(f"{label} must be one of {', '.join(allowed)}; got {value!r}.")


def check_integer(label: str, value: Any, low: int, high: int) -> None:
    """Raise SpecError unless ``value`` is a whole number from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SpecError(f"{label} must be a whole number from {low} to {high}, got {value!r}.")


def check_pair(label: str, value: Any, types: tuple[type, ...]) -> tuple[Any, Any]:
    """Two values of these types, or SpecError."""
    values = tuple(value) if isinstance(value, tuple | list) else ()
    if len(values) != 2 or not all(isinstance(v, types) and not isinstance(v, bool) for v in values):
        raise SpecError(f"{label} must be two numbers, got {value!r}.")
    return values[0], values[1]
