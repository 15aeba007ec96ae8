"""What the demo shows: progress while it runs, then the table, the formula and the lines of code.

Owns all of its words. Decides nothing.
"""

from __future__ import annotations

import logging
from textwrap import shorten

from rich.console import Console  # noqa: TID253
from rich.progress import BarColumn, Progress, TaskID, TextColumn  # noqa: TID253
from rich.table import Table  # noqa: TID253

from ratekeeper.cli.demo_many import LOADS, PARTS, PER_SECOND, Way, ideal
from ratekeeper.cli.demo_plan import KEPT, MAX_TOKENS, Bound, Plan
from ratekeeper.cli.demo_run import MODEL, Screen, Tally

_SECONDS_BETWEEN_LINES = 5.0
_LONGEST_ERROR = 160

_FIVE_LINES = """\
import ratekeeper as rk
from langchain_openai import ChatOpenAI

keeper = rk.Keeper(rk.Quota(rpm={rpm}, tpm={tpm:_}))
llm = keeper.wrap(ChatOpenAI(model="{model}", max_tokens={ceiling}))
answers = await asyncio.gather(*(llm.ainvoke(doc) for doc in docs))
"""
_NO_NUMBERS = (
    "Without any numbers, rk.Keeper() starts with a few calls and learns the quota from the answers' headers."
)


def screen_for(console: Console) -> Screen:
    """Live bars on a terminal, and plain lines anywhere else."""
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """A live bar for each run."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[tally].seconds:4.0f} s"),
            TextColumn("[green]{task.fields[tally].answered} answered"),
            TextColumn("[yellow]{task.fields[tally].refused} 429s"),
            TextColumn("[red]{task.fields[tally].failed} failed"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def start(self, tally: Tally) -> None:
        """Adds its bar."""
        self._progress.start()
        self._tasks[tally.name] = self._progress.add_task(tally.name, total=tally.calls, tally=tally)

    def show(self, tally: Tally) -> None:
        """Moves its bar."""
        self._progress.update(self._tasks[tally.name], completed=tally.answered + tally.failed)

    def finish(self, tally: Tally) -> None:
        """Leaves its bar as it is."""
        self.show(tally)
        self._progress.stop()
        _print_first_error(self._progress.console, tally)


class Lines:
    """A line every few seconds: for logs, where a bar would be rubbish."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def start(self, tally: Tally) -> None:  # noqa: ARG002
        """The clock of the lines starts anew."""
        self._next = _SECONDS_BETWEEN_LINES

    def show(self, tally: Tally) -> None:
        """A line, if it is time for one."""
        if tally.seconds >= self._next:
            self._next += _SECONDS_BETWEEN_LINES
            self.print(tally)

    def finish(self, tally: Tally) -> None:
        """The last line."""
        self.print(tally)
        _print_first_error(self._console, tally)

    def print(self, tally: Tally) -> None:
        """Where the run stands."""
        text = (
            f"{tally.name}: {tally.seconds:.0f} s, {tally.answered} answered, {tally.refused} 429s, "
            f"{tally.failed} failed"
        )
        self._console.print(text, highlight=False, soft_wrap=True)


class LogLines(logging.Handler):
    """Lines of the log, above a live bar or between the other lines."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        text = f"  log: {record.getMessage()}"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True, style="dim")


def introduction(console: Console, plan: Plan) -> None:
    """What is going to happen."""
    text = (
        f"Act one: {len(plan.prompts)} ChatOpenAI calls over passages of Python's manual, {plan.at_once} at once, "
        f"against a local provider that grants {plan.rpm:,} requests and {plan.tpm:,} tokens a minute.\n"
    )
    if plan.is_cut:
        text = (
            f"Act two: {len(plan.prompts)} of these calls again. After {plan.cut_at:.1f} s, without notice, the "
            f"provider grants no more than {plan.rpm * KEPT:,.0f} requests and {plan.tpm * KEPT:,.0f} tokens a minute; "
            f"the keeper still has the old numbers.\n"
        )
    console.print(text, highlight=False)


def table(plan: Plan, bare: Tally, wrapped: Tally) -> Table:
    """Both runs side by side; narrow enough for any log."""
    title = f"act two: cut to half after {plan.cut_at:.1f} s" if plan.is_cut else "act one: a known quota"
    result = Table(title=title)
    result.add_column("")
    result.add_column("bare\n(SDK retries: 2)", justify="right")
    result.add_column("keeper.wrap(llm)", justify="right")
    runs = (bare, wrapped)
    result.add_row("answered", *(f"{run.answered} of {run.calls}" for run in runs))
    result.add_row("failed for good", *(_alarming(run.failed) for run in runs))
    result.add_row("429s seen", *(f"{run.refused:,}" for run in runs))
    result.add_row("tokens answered", *(f"{run.tokens:,}" for run in runs))
    result.add_row("cost", *(f"{run.usd:.4f} USD" for run in runs))
    result.add_row("time", *(f"{run.seconds:.1f} s" for run in runs))
    result.add_row("quota-bound ideal", *[f"{plan.ideal:.1f} s"] * 2)
    result.add_row("ideal / time", *(_share(plan, run) for run in runs))
    return result


def formula(console: Console, plan: Plan) -> None:
    """Where the ideal comes from, with this run's numbers."""
    cut = f"; half the rate after {plan.cut_at:.1f} s" if plan.is_cut else ""
    lines = [
        f"ideal = max of (total - burst) / rate, + one call ({plan.one_call:.2f} s); buckets start full{cut}"
    ]
    lines += [_bound_line(bound) for bound in plan.bounds]
    console.print("\n".join(lines) + "\n", highlight=False, markup=False, soft_wrap=True)


def introduce_many(console: Console) -> None:
    """What the third act is about."""
    text = (
        f"Act three: {len(LOADS)} processes with one key, which make {', '.join(map(str, LOADS))} calls. The provider "
        f"grants {PER_SECOND} a second, together.\n"
    )
    console.print(text, highlight=False)


def table_of_many(ways: dict[str, Way]) -> Table:
    """The ways of the third act side by side."""
    result = Table(title=f"act three: {len(LOADS)} processes, one key")
    result.add_column("")
    result.add_column("bare\n(SDK retries: 2)", justify="right")
    result.add_column("a sixth of the\nquota each", justify="right")
    result.add_column("the full quota\neach, one store", justify="right")
    calls, best = sum(LOADS), ideal()
    runs = [ways[name] for name in PARTS]
    result.add_row("answered", *(f"{run.answered} of {calls}" for run in runs))
    result.add_row("failed for good", *(_alarming(run.failed) for run in runs))
    result.add_row("429s seen", *(f"{run.refused:,}" for run in runs))
    result.add_row("time", *(f"{run.seconds:.1f} s" for run in runs))
    result.add_row("quota-bound ideal", *[f"{best:.1f} s"] * len(runs))
    shares = ("not finished" if run.failed else f"{best / run.seconds:.1%}" for run in runs)
    result.add_row("ideal / time", *shares)
    return result


def five_lines(console: Console, plan: Plan) -> None:
    """The code that does it, to be copied."""
    console.print("The lines that do it:\n")
    code = _FIVE_LINES.format(rpm=plan.rpm, tpm=plan.tpm, model=MODEL, ceiling=MAX_TOKENS)
    console.print(f"{code}\n{_NO_NUMBERS}", highlight=False, markup=False, soft_wrap=True)


def _bound_line(bound: Bound) -> str:
    term = f"({bound.total:,} - {bound.burst:,}) / {bound.rate:,.1f} per s"
    if bound.seconds > bound.cut_at:
        before = f"{bound.rate:,.1f} x {bound.cut_at:.1f} s"
        term = f"{bound.cut_at:.1f} s + ({bound.total:,} - {bound.burst:,} - {before}) / {bound.rate * KEPT:,.1f} per s"
    return f"  {bound.dimension:<8}  {term} = {bound.seconds:.1f} s"


def _alarming(count: int) -> str:
    return f"[red]{count}[/red]" if count else "0"


def _share(plan: Plan, run: Tally) -> str:
    """How near the run came to the ideal; one that did not do its work did not come near."""
    return "not finished" if run.failed else f"{plan.ideal / run.seconds:.1%}"


def _print_first_error(console: Console, tally: Tally) -> None:
    if tally.first_error:
        short = shorten(tally.first_error, _LONGEST_ERROR, placeholder=" ...")
        console.print(f"  first failure: {short}", highlight=False, markup=False, style="dim")
