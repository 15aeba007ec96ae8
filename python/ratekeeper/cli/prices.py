"""``ratekeeper prices MODEL``: what would be charged for a model, and why.

Owns the options and what is printed. Loaded only by the command, since it imports click.
"""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches

import click  # noqa: TID253

from ratekeeper.errors import ConfigError
from ratekeeper.prices import Cost, Price, PriceBook
from ratekeeper.providers.usage import Usage

#: How the kinds of tokens are called here, in the order of the table.
_KINDS = {
    "input": "input",
    "cache_read": "read from the cache",
    "cache_write": "written to the cache",
    "cache_write_1h": "written for an hour",
    "input_audio": "audio input",
    "cache_read_audio": "audio from the cache",
    "output": "output",
    "reasoning": "reasoning",
    "output_audio": "audio output",
    "request": "a call",
}
_COUNT = click.IntRange(0, 10**12)


@click.command("prices")
@click.argument("model")
@click.option("--provider", default="", help="Whose model it is, where the name does not tell.")
@click.option("--input", "sent", type=_COUNT, default=0, help="Input tokens of a call to reckon.")
@click.option("--output", "said", type=_COUNT, default=0, help="Output tokens of that call.")
@click.option("--cached", type=_COUNT, default=0, help="How much of the input was read from the cache.")
@click.option("--tier", default="", help="The service tier, such as batch, flex or priority.")
@click.option("--at", type=click.DateTime(), help="The time (UTC) of the price; now unless given.")
@click.option("--prices", "file", type=click.Path(), help="A TOML or JSON file of your own prices.")
def command(
    *,
    model: str,
    provider: str,
    sent: int,
    said: int,
    cached: int,
    tier: str,
    at: datetime | None,
    file: str | None,
) -> None:
    """Show what would be charged for MODEL, and why.

    Exits with 1 if nobody knows the model.
    """
    try:
        book = PriceBook.load(file) if file else PriceBook()
        price = book.find(model, provider, at)
        if price is None:
            raise click.ClickException(_unknown(book, model))
        _show(model, price)
        if sent or said:
            cost = book.cost(Usage(sent, said, cached, tier=tier), model, provider, at=at)
            _reckon(cost, book.worst(model, provider, sent, said, at=at), tier)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _unknown(book: PriceBook, model: str) -> str:
    """What to say of a model that nobody knows, with names that are near."""
    near = get_close_matches(model.lower(), book.names(), n=3, cutoff=0.7)
    near += get_close_matches(
        model.lower(), {name.partition("/")[2] for name in book.names()}, n=3, cutoff=0.7
    )
    hint = f"; near it are {', '.join(dict.fromkeys(near))}" if near else ""
    return f"nobody knows a price of {model!r}{hint}. Say --provider, or set one of your own (--prices)."


def _show(model: str, price: Price) -> None:
    """The price, where it comes from, and its rates by service tier and size of the input."""
    click.echo(f"{model} is charged as {price.id}")
    click.echo(f"source: {price.source}, {price.date}")
    if price.since:
        click.echo(f"in force since {price.since}")
    if price.hours:
        click.echo(f"in force from {price.hours.replace('-', ' to ')} UTC, another price at other hours")
    if price.max_output:
        click.echo(f"answers have at most {price.max_output:,} tokens")
    _rates(price, "USD per million tokens", 0)
    for size in price.steps:
        _rates(price, f"above {size:,} input tokens", size + 1)


def _rates(price: Price, title: str, size: int) -> None:
    """The rates for a size of the input, a column for each service tier."""
    tiers = ["", *price.tiers]
    rates = [price.rates(tier, size) for tier in tiers]
    rows = [[title, *(tier or "standard" for tier in tiers)]]
    rows += [
        [name, *(f"{column[kind]:f}" if kind in column else "" for column in rates)]
        for kind, name in _KINDS.items()
        if any(kind in column for column in rates)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    click.echo()
    for name, *cells in rows:
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        click.echo(f"{name:<{widths[0]}}{numbers}")


def _reckon(cost: Cost | None, worst: int | None, tier: str) -> None:
    """The bill of a call, and what would be reserved for it."""
    click.echo()
    if cost is None:
        click.echo("some of these tokens have no price: they would be booked as unpriced")
        return
    if tier and tier not in cost.price.tiers:
        click.echo(f"{tier!r} has no rates of its own: the standard ones hold")
    for kind, tokens, rate, usd in cost.lines:
        click.echo(f"{tokens:>12,} {_KINDS[kind]} at {rate:f} = {usd:f} USD")
    click.echo(
        f"{cost.usd:f} USD; at the very most {(worst or 0) / 10**12:.6f} USD, whatever of it is cached or in a tier"
    )
