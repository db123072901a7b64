"""Strict building of frozen dataclasses from plain mappings (YAML, metadata)."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from imgcodec.codec.errors import OptionError


class RecipeError(OptionError):
    """A recipe names an unknown key or holds a value of the wrong type."""


def build(cls: type, values: dict[str, Any], source: str) -> Any:
    """Build the frozen dataclass `cls` from a mapping, strictly.

    Raises:
        RecipeError: unknown key, a value of another type than the default's, or one that the
            class refuses.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    check_keys(values, list(fields), source)
    converted = {}
    for key, value in values.items():
        default = fields[key].default
        converted[key] = _convert(value, default, f"{source}: {key}")
    try:
        return cls(**converted)
    except ValueError as error:
        raise RecipeError(f"{source}: {error}") from error


def _convert(value: Any, default: Any, source: str) -> Any:
    if isinstance(default, bool) or isinstance(value, bool):
        matches = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, float):
        try:  # YAML 1.1 reads 1e-3, without a point, as a string
            value, matches = float(value), True
        except (TypeError, ValueError):
            matches = False
    elif isinstance(default, tuple):
        matches = isinstance(value, list | tuple) and len(value) == len(default)
        value = tuple(value) if matches else value
    else:
        matches = isinstance(value, type(default))
    if not matches:
        raise RecipeError(f"{source}: expected {type(default).__name__}, got {value!r}")
    return value


def check_keys(values: dict[str, Any], known: list[str], source: str) -> None:
    """Raise `RecipeError` for the first key that is not known, with the nearest that is."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
            raise RecipeError(f"{source}: unknown key '{key}'{hint}")
