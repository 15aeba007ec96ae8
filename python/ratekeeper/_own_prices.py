"""Users' own prices, from a dict or a file, as rows of the native table.

Owns their fields and what is wrong with them. Looks no model up.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from . import _price_rows as rows
from . import checks
from ._core import PriceTable
from .errors import ConfigError

#: The rates that people may set, by the letters of the native table.
_LETTERS = {name: letter for letter, name in rows.LETTERS.items()}
_KEYS = (*_LETTERS, "above", "tiers", "max_output", "source", "date")
#: Dollars a million tokens: a token costs a dollar at most, as in the core.
_MAX_RATE = 1_000_000
_EXPECTED = f"dollars a million tokens, from 0 to {_MAX_RATE}"


def _read(path: Path) -> tuple[Mapping[str, Any], str]:
    """A file's prices and its name."""
    try:
        text = path.read_text(encoding="utf-8")
        loads = json.loads if path.suffix == ".json" else _toml()
        told = loads(text, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as prices ({error})", field=str(path)) from error
    return checks.table(told, str(path)), path.name


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 (only where there is a file to read)
    else:
        import tomli as tomllib  # noqa: PLC0415
    return tomllib.loads


def table_of(source: str | os.PathLike[str] | Mapping[str, Any]) -> str:
    """The native table of the users' models, all in one block.

    Raises:
        ConfigError: The file cannot be read, or which field is wrong.
    """
    told, file = (source, "your prices") if isinstance(source, Mapping) else _read(Path(source))
    today = f"{date.today():%Y-%m-%d}"
    lines: list[str] = []
    sources: dict[tuple[str, str], str] = {}
    for name, rates in checks.table(told, "prices").items():
        field = f"prices.{checks.quoted(name)}"
        entry = _checked(rates, field)
        letter = f"u{len(sources)}"
        said = (str(entry.get("source", file)), str(entry.get("date", today)))
        letter = sources.setdefault(said, letter)
        lines.append(
            rows.row(_full(name), [_full(name)], entry.get("max_output"), letter, _prices(entry, field))
        )
    heads = [(letter, *said) for said, letter in sources.items()]
    return rows.head(heads) + rows.block("", (), (), ()) + "".join(lines)


def _full(name: str) -> str:
    """A name with its provider as the compiled-in prices call it."""
    if any(letter.isspace() for letter in name):
        checks.fail(f"prices.{checks.quoted(name)}", "a name without blanks", name)
    prefix, slash, rest = name.lower().partition("/")
    return f"{PriceTable.provider_of(prefix)}/{rest}" if slash else prefix


def fallback_row(rates: Mapping[str, Any]) -> str:
    """The line of a model that stands for all that nobody knows."""
    entry = _checked(rates, "fallback")
    line = rows.row("fallback", ["fallback"], entry.get("max_output"), "", _prices(entry, "fallback"))
    return line.rstrip("\n")


def _checked(rates: object, field: str) -> dict[str, Any]:
    """The entry of a model, with fields that there are, and both rates that every model has."""
    entry = dict(checks.table(rates, field))
    checks.known(entry, _KEYS, field)
    for name in ("input", "output"):
        if name not in entry:
            raise ConfigError(f"{field}.{name}: is missing; expected {_EXPECTED}", field=f"{field}.{name}")
    if entry.get("max_output") is not None:
        checks.whole(entry["max_output"], f"{field}.max_output")
    return entry


def _prices(entry: Mapping[str, Any], field: str) -> str:
    """The segments of an entry: the standard one, then one a service tier."""
    segments = [f"|{_rates(entry, field)}"]
    for tier, rates in checks.table(entry.get("tiers", {}), f"{field}.tiers").items():
        inner = f"{field}.tiers.{checks.quoted(tier)}"
        checks.known(checks.table(rates, inner), (*_LETTERS, "above"), inner)
        if not tier.replace("-", "").replace("_", "").isalnum():
            checks.fail(f"{field}.tiers", "names of service tiers, such as batch or flex", tier)
        segments.append(f"{tier.lower()}|{_rates(rates, inner)}")
    return ";".join(segments)


def _rates(entry: Mapping[str, Any], field: str) -> str:
    """The rates of a table, with those above sizes of the input."""
    told = entry.get("above", {})
    # Sizes may be numbers, which no other table has as names.
    above = {str(size): rates for size, rates in told.items()} if isinstance(told, Mapping) else told
    above = checks.table(above, f"{field}.above")
    for size, rates in above.items():
        if not size.isdecimal():
            checks.fail(f"{field}.above", "sizes of the input in tokens", size)
        checks.known(checks.table(rates, f"{field}.above.{size}"), _LETTERS, f"{field}.above.{size}")
    sizes = sorted(above, key=int)
    found = []
    for name, letter in _LETTERS.items():
        steps = [
            (int(size), _dollars(above[size][name], f"{field}.above.{size}.{name}"))
            for size in sizes
            if name in above[size]
        ]
        if name in entry:
            found.append(rows.rate(letter, _dollars(entry[name], f"{field}.{name}"), steps))
        elif steps:
            raise ConfigError(f"{field}.{name}: is missing, and is set above a size", field=f"{field}.{name}")
    return " ".join(found)


def _dollars(value: object, field: str) -> Decimal:
    """A rate: a finite number from 0 that is not absurd."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        checks.fail(field, _EXPECTED, value)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        checks.fail(field, _EXPECTED, value)
    is_call = field.endswith(".request")
    if not number.is_finite() or not 0 <= number <= (1 if is_call else _MAX_RATE):
        checks.fail(field, "dollars a call, from 0 to 1" if is_call else _EXPECTED, value)
    # What a call costs stands in the table as what a token costs does.
    return number * rows.PICO if is_call else number
