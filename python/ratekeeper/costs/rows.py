"""Rows of a ledger and the shapes they can take: dicts, CSV, JSON, a DataFrame, a table for people.

Owns the columns. Money is exact in dicts (Decimal), CSV and JSON (text), and a float in a DataFrame.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Generic, NamedTuple, TypeVar, overload

from ratekeeper._core import Entry

from .spend import Spend, shown_usd
from .text import aligned

T = TypeVar("T")

#: What stands in a table for a text that was folded away, and for one that never was.
FOLDED, NONE = "(folded)", "-"
_SPEND = tuple(field.name for field in fields(Spend))
_USAGE = _SPEND[_SPEND.index("input_tokens") : _SPEND.index("pico_usd")]
_ENTRY = ("scope", "model", "price", "tier")
_FACTS = ("waited", "duration", "outcome", "attempt", "estimated")


class Rows(Sequence[T], Generic[T]):
    """Rows in order, as a sequence, and in the shapes that other programs read."""

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self._rows)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        return self._rows[place]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict for each row; money is a Decimal."""
        raise NotImplementedError

    def to_csv(self) -> str:
        """A header and one line for each row; what is unknown is empty."""
        dicts = self.to_dicts()
        # An entry has the columns of its own tags.
        columns = list(dict.fromkeys(name for row in dicts for name in row))
        file = io.StringIO()
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_plain, dicts))
        return file.getvalue()

    def to_json(self, *, indent: int | None = None) -> str:
        """A list of objects; money is a text, since JSON's numbers are not exact."""
        return json.dumps([_plain(row) for row in self.to_dicts()], indent=indent)

    def to_dataframe(self) -> Any:
        """A DataFrame of pandas, or of polars where pandas is not installed; money is a float.

        Raises:
            ImportError: Neither is installed.
        """
        dicts = [_floats(row) for row in self.to_dicts()]
        columns = list(dict.fromkeys(name for row in dicts for name in row))
        data = {name: [row.get(name) for row in dicts] for name in columns}
        for module in ("pandas", "polars"):
            if find_spec(module):
                return import_module(module).DataFrame(data)
        raise ImportError("to_dataframe() needs pandas or polars: pip install pandas")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} rows>"


class Row(NamedTuple):
    """A group and what it spent.

    Attributes:
        key: Column → text; "" where the calls had no such tag, None where it was folded away.
        spend: The sum.
    """

    key: dict[str, str | None]
    spend: Spend


class Breakdown(Rows[Row]):
    """Sums by the columns that were asked for, the dearest first.

    Attributes:
        columns: What was asked for.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Row]) -> None:
        super().__init__(rows)
        self.columns = tuple(columns)

    def get(self, *key: str | None) -> Spend | None:
        """The sum of one group, by its texts in the order of the columns; None if there is none."""
        return next((row.spend for row in self if tuple(row.key.values()) == key), None)

    def total(self) -> Spend:
        """All groups together."""
        return sum((row.spend for row in self), Spend())

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict for each group: its texts, then the fields of its `Spend`, with ``usd``."""
        return [
            {**row.key, **{name: getattr(row.spend, name) for name in _SPEND}, "usd": row.spend.usd}
            for row in self
        ]

    def table(self) -> str:
        """A table for people, with the sum below."""
        total = self.total()
        shown = [column for column in _COLUMNS if column.always or column.is_shown(total)]
        lines = [
            [*map(_text, row.key.values()), *(column.text(row.spend) for column in shown)] for row in self
        ]
        foot = ["total", *[""] * (len(self.columns) - 1), *(column.text(total) for column in shown)]
        head = [*self.columns, *(column.name for column in shown)]
        return aligned(head, lines, foot if len(self) != 1 and self.columns else None, left=len(self.columns))

    def __str__(self) -> str:
        return self.table()


class Entries(Rows[Entry]):
    """Single attempts, in the order of their booking."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict for each attempt: its fields, its usage, and its tags as ``tag.<name>``."""
        return [_entry(entry) for entry in self]

    def table(self) -> str:
        """A table for people."""
        head = ["time", "model", "tags", "outcome", "input", "output", "USD", "waited", "took"]
        return aligned(head, [_line(entry) for entry in self], None, left=4)

    def __str__(self) -> str:
        return self.table()


class _Column(NamedTuple):
    name: str
    field: str
    always: bool = False

    def is_shown(self, total: Spend) -> bool:
        return bool(getattr(total, self.field))

    def text(self, spend: Spend) -> str:
        value = getattr(spend, self.field)
        if self.field == "pico_usd":
            return shown_usd(value)
        return f"{value:,.1f} s" if isinstance(value, float) else f"{value:,}"


_COLUMNS = (
    _Column("calls", "calls", always=True),
    _Column("failed", "failed"),
    _Column("refused", "refused"),
    _Column("abandoned", "abandoned"),
    _Column("estimated", "estimated"),
    _Column("unmetered", "unmetered"),
    _Column("input", "input_tokens", always=True),
    _Column("cached", "cache_read_tokens"),
    _Column("output", "output_tokens", always=True),
    _Column("USD", "pico_usd", always=True),
    _Column("unpriced tokens", "unpriced_tokens"),
    _Column("waited", "waited"),
    _Column("folded", "folded"),
)


def _entry(entry: Entry) -> dict[str, Any]:
    usage = entry.usage
    return {
        "number": entry.number,
        "time": entry.time.isoformat(),
        **{name: getattr(entry, name) for name in _ENTRY},
        **{name: getattr(usage, name, None if usage is None else 0) for name in _USAGE},
        "pico_usd": entry.pico_usd,
        "usd": entry.usd,
        **{name: getattr(entry, name) for name in _FACTS},
        **{f"tag.{name}": value for name, value in entry.tags.items()},
    }


def _line(entry: Entry) -> list[str]:
    usage, money = entry.usage, entry.pico_usd
    return [
        f"{entry.time:%Y-%m-%d %H:%M:%S}Z",
        entry.model or NONE,
        " ".join(f"{name}={value}" for name, value in entry.tags.items()) or NONE,
        entry.outcome + (" (estimated)" if entry.estimated else ""),
        NONE if usage is None else f"{usage.input_tokens:,}",
        NONE if usage is None else f"{usage.output_tokens:,}",
        NONE if money is None else shown_usd(money),
        f"{entry.waited:,.1f} s",
        f"{entry.duration:,.1f} s",
    ]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in row.items()}


def _floats(row: dict[str, Any]) -> dict[str, Any]:
    """Without the exact integer of the money: sums of it can be beyond the integers of a DataFrame."""
    return {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in row.items()
        if name != "pico_usd"
    }


def _text(value: str | None) -> str:
    return FOLDED if value is None else value or NONE
