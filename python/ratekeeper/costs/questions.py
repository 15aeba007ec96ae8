"""The questions that every ledger answers, in memory or stored.

Owns their form. The sums are the core's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ratekeeper.checks import fail

from .times import When, micros_of

if TYPE_CHECKING:
    from .rows import Breakdown
    from .spend import Spend


class Questions:
    """Totals by anything, of a ledger that has `_groups` and `_now`."""

    def total(
        self, *, since: When = None, until: When = None, model: str | None = None, **tags: str
    ) -> Spend:
        """What all matching attempts come to.

        Args:
            since: From then on: a datetime (naive ones are local), a timedelta or a text such as ``"24h"`` (so long ago),
                seconds since 1970, or an ISO text.
            until: Before then.
            model: Of this model only.
            **tags: Of these tags only; ``agent=""`` are the attempts without an agent. Also `scope`, `price` and `tier`.

        Raises:
            ConfigError: A time cannot be read.
        """
        from .spend import Spend  # noqa: PLC0415 (only where somebody asks)

        groups = self._ask((), since, until, model, tags)
        return Spend(*groups[0][1]) if groups else Spend()

    def by(
        self,
        *columns: str,
        since: When = None,
        until: When = None,
        model: str | None = None,
        **tags: str,
    ) -> Breakdown:
        """Sums by tags, the dearest first.

        Args:
            *columns: Names of tags, or `model`, `scope`, `price`, `tier`.
            since: As in `total`.
            until: As in `total`.
            model: As in `total`.
            **tags: As in `total`.
        """
        from .rows import Breakdown, Row  # noqa: PLC0415
        from .spend import Spend  # noqa: PLC0415

        names = [_name(column, "by") for column in columns]
        groups = self._ask(names, since, until, model, tags)
        return Breakdown(
            names, (Row(dict(zip(names, texts, strict=True)), Spend(*numbers)) for texts, numbers in groups)
        )

    def table(
        self,
        by: str | Sequence[str] = "model",
        *,
        since: When = None,
        until: When = None,
        model: str | None = None,
        **tags: str,
    ) -> str:
        """`by` as text for people: one or more columns, as a sequence or with commas between them."""
        columns = by.split(",") if isinstance(by, str) else by
        columns = [column.strip() if isinstance(column, str) else column for column in columns]
        return self.by(*columns, since=since, until=until, model=model, **tags).table()

    def _ask(
        self, by: Sequence[str], since: When, until: When, model: str | None, tags: dict[str, str]
    ) -> list[tuple[tuple[str | None, ...], tuple[Any, ...]]]:
        now = self._now()
        limits = micros_of(since, "since", now), micros_of(until, "until", now)
        return self._groups(list(by), *limits, chosen(model, tags))

    def _groups(
        self, by: list[str], since: int | None, until: int | None, wanted: dict[str, str]
    ) -> list[tuple[tuple[str | None, ...], tuple[Any, ...]]]:
        raise NotImplementedError

    def _now(self) -> float:
        raise NotImplementedError


def chosen(model: str | None, tags: dict[str, str]) -> dict[str, str]:
    """What the columns must say."""
    wanted = dict(tags) if model is None else {**tags, "model": model}
    for name, text in wanted.items():
        if not isinstance(text, str):
            fail(name, "a text", text)
    return wanted


def _name(column: object, field: str) -> str:
    if not isinstance(column, str) or not column:
        fail(field, "names of tags, or model, scope, price, tier", column)
    return column
