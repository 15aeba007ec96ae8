"""``ratekeeper report``: what was spent, from a ledger's file.

Owns the options. Loaded only by the command, since it imports click.
"""

from __future__ import annotations

import click  # noqa: TID253

from ratekeeper.costs import Breakdown, Entries, StoredCosts
from ratekeeper.errors import ConfigError, StoreError

_FORMATS = ("table", "csv", "json")


class Tag(click.ParamType[tuple[str, str]]):
    """``name=text``."""

    name = "NAME=TEXT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The pair, or a usage error."""
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not of the form job=42", param, ctx)
        return name, text


@click.command("report")
@click.option(
    "--db",
    "store",
    default="sqlite:///ratekeeper.db",
    show_default=True,
    envvar="RATEKEEPER_COSTS",
    show_envvar=True,
    help="The ledger: a path, or as CostTracker(store=...) takes it.",
)
@click.option(
    "--by",
    default="model",
    show_default=True,
    help='Columns with commas between them: tags, or model, scope, price, tier; "" for one sum.',
)
@click.option("--since", help='From then on: "24h", "7d", "2026-11-21", "2026-11-21T18:00+01:00".')
@click.option("--until", help="Before then.")
@click.option(
    "--tag", "tags", type=Tag(), multiple=True, help="Only calls with this tag; also model=... and scope=...."
)
@click.option("--entries", "most", type=click.IntRange(1), help="The newest single attempts instead of sums.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="How to print it.",
)
def command(  # noqa: PLR0917 (click gives them by name)
    store: str,
    by: str,
    since: str | None,
    until: str | None,
    tags: tuple[tuple[str, str], ...],
    most: int | None,
    form: str,
) -> None:
    """Say what was spent, by whom, from a ledger's file; also while applications write it."""
    wanted = dict(tags)
    model = wanted.pop("model", None)
    try:
        costs = StoredCosts(store)
        rows: Breakdown | Entries
        if most is None:
            columns = [column.strip() for column in by.split(",")] if by else []
            rows = costs.by(*columns, since=since, until=until, model=model, **wanted)
        else:
            rows = costs.entries(since=since, until=until, model=model, most=most, **wanted)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    click.echo(_printed(rows, form), nl=form != "csv")


def _printed(rows: Breakdown | Entries, form: str) -> str:
    if form == "csv":
        return rows.to_csv()
    return rows.to_json(indent=2) if form == "json" else rows.table()
