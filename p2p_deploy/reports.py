"""What every report of this package has in common: it is a frozen dataclass, and JSON can be made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


class Report:
    """The base of all reports, which are frozen dataclasses.

    Every field becomes a value of JSON: a path a string, a mapping an object, a set a sorted array, a report within a
    report an object. JSON has no number for NaN and infinity; they become null.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain values by the names of the fields."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]

    def to_json(self) -> str:
        """One JSON document, indented."""
        return json.dumps(plain(self.to_dict()), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """``value`` as JSON knows values."""
    if isinstance(value, Report):
        return plain(value.to_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Set):
        return sorted(plain(inner) for inner in value)
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
