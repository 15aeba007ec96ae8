"""Checks of settings, whether they come from code, a file or the environment.

Owns the wording: the setting's full name, what was expected, what was there. Changes no value beyond its
type, but for a path that would mean another file elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ConfigError

if TYPE_CHECKING:
    from .status import StorePolicy

#: As in the core: a larger number is a typing error rather than a quota.
MAX_AMOUNT = 1_000_000_000_000
MAX_CONCURRENCY = 1_000_000
_MAX_SECONDS = 31 * 24 * 3600.0
_MAX_SHOWN = 60
#: What stands before the path of a SQLite file.
_SQLITE = "sqlite:///"


def fail(field: str, expected: str, got: object) -> NoReturn:
    """Raises the ConfigError that says what was expected of `field`."""
    shown = repr(got)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}…"
    raise ConfigError(f"{field}: expected {expected}, got {shown}", field=field)


def whole(value: object, field: str, *, maximum: int = MAX_AMOUNT) -> int:
    """A whole number from 1 to `maximum`; True is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        fail(field, f"a whole number from 1 to {maximum}", value)
    return value


def seconds(value: object, field: str, *, zero: bool = False) -> float:
    """A duration of at most 31 days as float seconds, from a number or a timedelta."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    expected = (
        f"seconds from 0 to {_MAX_SECONDS:.0f}" if zero else f"seconds above 0 and up to {_MAX_SECONDS:.0f}"
    )
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
        fail(field, expected, value)
    if number < 0 or number > _MAX_SECONDS or (number == 0 and not zero):
        fail(field, expected, value)
    return float(number)


def weight(value: object, field: str) -> float:
    """A tenant's share: a number from 0.01 to 1000."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1000:
        fail(field, "a number from 0.01 to 1000", value)
    return float(value)


def table(value: object, field: str) -> Mapping[str, Any]:
    """A mapping whose keys are texts."""
    if not isinstance(value, Mapping):
        fail(field, "a table of names", value)
    for name in value:
        if not isinstance(name, str) or not name:
            fail(field, "names that are texts", name)
    return value


def text(value: object, field: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        fail(field, "a text that is not empty", value)
    return value


def store_lost(value: object, field: str) -> StorePolicy:
    """What is done while a store is lost."""
    if value not in ("share", "open", "closed"):
        fail(field, '"share", "open" or "closed"', value)
    return value


def quota_pattern(pattern: str, field: str) -> str:
    """``provider/model``, ``provider/account/model``, with wildcards."""
    provider, slash, model = pattern.partition("/")
    if not (provider and slash and model):
        fail(field, 'a pattern such as "openai/gpt-4o-mini" or "anthropic/claude-*"', pattern)
    return pattern


def family(name: str, patterns: object, field: str) -> tuple[str, ...]:
    """The members of a family: at least one pattern; the name is one part of a scope."""
    if "/" in name:
        fail(field, 'a family name without "/" (its quota is then quotas."provider/name")', name)
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        fail(field, 'a list of patterns such as ["openai/gpt-4o", "openai/gpt-4o-2024-*"]', patterns)
    members = tuple(patterns)
    if not members:
        fail(field, "at least one pattern", patterns)
    return tuple(
        quota_pattern(text(member, f"{field}[{i}]"), f"{field}[{i}]") for i, member in enumerate(members)
    )


def families(value: object, field: str) -> dict[str, tuple[str, ...]]:
    """The members of each family, by its name."""
    return {
        name: family(name, members, f"{field}.{quoted(name)}")
        for name, members in table(value, field).items()
    }


def weights(value: object, field: str) -> dict[str, float]:
    """The share of each tenant, by its name."""
    return {name: weight(share, f"{field}.{quoted(name)}") for name, share in table(value, field).items()}


def known(names: Iterable[str], allowed: Iterable[str], field: str) -> None:
    """Refuses names that are not `allowed`, with the nearest one that is.

    Args:
        names: What was given.
        allowed: What may be given.
        field: The full name of the table they stand in; "" for the whole file.
    """
    allowed = list(allowed)
    for name in names:
        if name in allowed:
            continue
        full = f"{field}.{quoted(name)}" if field else quoted(name)
        near = nearest(name, allowed)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(allowed)}"
        raise ConfigError(f"{full}: no such setting; {hint}", field=full)


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that `name` was most likely meant to be, or None."""
    from difflib import get_close_matches  # noqa: PLC0415 (only for an error message)

    allowed = list(allowed)
    # Swapped letters first: by difflib's measure `rmp` is as near to `rps` as to `rpm`.
    swapped = [known for known in allowed if sorted(known) == sorted(name)]
    return next(iter(swapped or get_close_matches(name, allowed, n=1, cutoff=0.6)), None)


def quoted(name: str) -> str:
    """A key as it is written in a TOML path."""
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else f'"{name}"'


def store(value: object, field: str) -> str:
    """The address of a store, which for a SQLite file stays the same wherever the process goes."""
    address = text(value, field)
    path = address.removeprefix(_SQLITE)
    return _SQLITE + os.path.abspath(path) if path and path != address else address
