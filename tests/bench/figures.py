"""A promised figure as measured, and the table of all of them.

Owns how results look. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line of the result.

    Attributes:
        what: What was measured.
        measured: The value, with its unit.
        asked: What was promised; empty for a line that is there for comparison only.
        reached: Whether the promise was kept; None for a line without one.
    """

    what: str
    measured: str
    asked: str = ""
    reached: bool | None = None


def at_least(what: str, value: float, bound: float, form: str = "{:.3g}") -> Figure:
    """A promise that a value is no lower than a bound."""
    return Figure(what, form.format(value), f">= {form.format(bound)}", value >= bound)


def at_most(what: str, value: float, bound: float, form: str = "{:.3g}") -> Figure:
    """A promise that a value is no higher than a bound."""
    return Figure(what, form.format(value), f"<= {form.format(bound)}", value <= bound)


def show(console: Console, title: str, figures: Iterable[Figure]) -> list[Figure]:
    """Prints a bench's figures as one table, and returns them."""
    shown = list(figures)
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("what")
    table.add_column("asked", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("reached", justify="center")
    for figure in shown:
        table.add_row(figure.what, figure.asked, figure.measured, _verdict(figure.reached))
    console.print(table)
    console.print()
    return shown


def summary(console: Console, figures: list[Figure]) -> None:
    """How many promises were kept, and which were not."""
    promised = [figure for figure in figures if figure.reached is not None]
    missed = [figure for figure in promised if not figure.reached]
    console.print(f"[bold]{len(promised) - len(missed)} of {len(promised)} figures reached[/bold]")
    for line in _lines(missed):
        console.print(line, style="red")


def _lines(missed: list[Figure]) -> Iterator[str]:
    for figure in missed:
        yield f"missed: {figure.what}: {figure.measured}, asked {figure.asked}"


def _verdict(reached: bool | None) -> str:
    if reached is None:
        return ""
    return "[green]yes[/green]" if reached else "[bold red]no[/bold red]"
