"""``ratekeeper provider``: the fake provider in the foreground, and its report at the end.

Owns the options and what is printed. Loaded only by the command, since it imports click and rich.
"""

from __future__ import annotations

import signal
import threading
import typing
from dataclasses import fields
from typing import Any

import click  # noqa: TID253
from rich.console import Console  # noqa: TID253
from rich.table import Table  # noqa: TID253

from ratekeeper.errors import ConfigError
from ratekeeper.testing.client import FakeProviderError
from ratekeeper.testing.limits import Algorithm, QuotaChange
from ratekeeper.testing.provider import FakeProvider
from ratekeeper.testing.report import Report
from ratekeeper.testing.settings import Fault

_USE = """
OpenAI       OpenAI(base_url="{openai}", api_key="any")
             or OPENAI_BASE_URL={openai}
Azure        AzureOpenAI(azure_endpoint="{root}", api_key="any", api_version="2024-10-21")
Anthropic    Anthropic(base_url="{root}", api_key="any")
             or ANTHROPIC_BASE_URL={root}
Groq         OpenAI(base_url="{groq}", api_key="any")
Mistral      OpenAI(base_url="{mistral}", api_key="any")
Report       {root}/_report
"""


class Assignments(click.ParamType[Any]):
    """``name=value,…`` as an object; a first word without ``=`` is its kind."""

    def __init__(self, kind: type[Fault] | type[QuotaChange]) -> None:
        self.kind = kind
        self.name = "KIND,NAME=VALUE,…" if kind is Fault else "at=SECONDS,NAME=VALUE,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The object, or a usage error that says what was wrong."""
        if isinstance(value, self.kind):
            return value
        allowed = {field.name for field in fields(self.kind)}
        given: dict[str, Any] = {}
        for part in str(value).split(","):
            name, equals, text = part.partition("=")
            if not equals:
                name, text = "kind", name
            if name not in allowed:
                self.fail(f"{name!r} is not one of {', '.join(sorted(allowed))}", param, ctx)
            given[name] = _value(text)
        try:
            return self.kind(**given)
        except (ConfigError, TypeError) as error:
            self.fail(str(error), param, ctx)


def _value(text: str) -> object:
    """A whole number, another number, or the text as it stands."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(text) if text.isdecimal() else number


@click.command("provider")
@click.option("--rpm", type=float, help="Requests a window, by key and model.")
@click.option("--tpm", type=float, help="Tokens a window.")
@click.option("--itpm", type=float, help="Input tokens a window.")
@click.option("--otpm", type=float, help="Output tokens a window.")
@click.option("--concurrency", type=int, help="Calls at once.")
@click.option("--rpd", type=float, help="Requests a day, which is 1440 windows.")
@click.option("--project-tpm", type=float, help="Tokens a window of the project, beside --tpm.")
@click.option("--window", type=float, default=60.0, show_default=True, help="Seconds of a window.")
@click.option(
    "--algorithm",
    type=click.Choice(typing.get_args(Algorithm)),
    help="How quotas are counted; if not said, as each vendor documents.",
)
@click.option(
    "--burst", type=float, default=1.0, show_default=True, help="Share of the limit a bucket holds."
)
@click.option("--charge-refusals", is_flag=True, help="Refused requests count too, as OpenAI documents.")
@click.option("--latency", type=float, default=0.0, help="Seconds before an answer.")
@click.option("--token-latency", type=float, default=0.0, help="Seconds an output token takes.")
@click.option("--output-tokens", type=int, default=32, show_default=True, help="Median length of an answer.")
@click.option("--output-sigma", type=float, default=0.0, help="Spread of that length (log-normal).")
@click.option("--headers/--no-headers", default=True, help="Send rate-limit and retry headers.")
@click.option("--hints/--no-hints", default=True, help="Refusals tell how long to wait.")
@click.option("--azure-unknown", is_flag=True, help="Azure's Responses API tells -1 for its limits.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=Assignments(Fault),
    help="What goes wrong, such as rate_limit,probability=0.01,retry_after=2 or server_error,every=50.",
)
@click.option(
    "--change",
    "changes",
    multiple=True,
    type=Assignments(QuotaChange),
    help="A quota cut or raised at a moment, such as at=30,rpm=100.",
)
@click.option("--seed", type=int, default=0, help="Of lengths and chances.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=int, default=0, help="The port; the system chooses if not said.")
def command(**options: Any) -> None:
    """Run a local server that answers, counts and refuses like OpenAI, Azure OpenAI, Anthropic, Groq and Mistral.

    Point your application at it, load it, and press Ctrl-C for the report.
    """
    console = Console()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with FakeProvider(**options) as provider:
            urls = _USE.format(
                openai=provider.openai_url,
                groq=provider.groq_url,
                mistral=provider.mistral_url,
                root=provider.url,
            )
            console.print(f"The fake provider answers at [bold]{provider.url}[/bold]")
            console.print(urls, highlight=False, markup=False)
            console.print("Ctrl-C stops it and prints the report.")
            while not stop.wait(0.5):  # a wait without end would not let the signal through on every system
                pass
            report = provider.report(timeline=False)
    except (ConfigError, FakeProviderError) as error:
        raise click.ClickException(str(error)) from error
    console.print(report_table(report))


def report_table(report: Report) -> Table:
    """The report as a table, a row for each key and model."""
    title = f"{report.requests} requests in {report.now - report.started:.1f} s"
    caption = f"{report.disconnects} clients left early, {report.retries} requests were retries of an SDK"
    table = Table(title=title, caption=caption)
    table.add_column("key")
    table.add_column("model")
    for name in ("requests", "by status", "input", "output", "admitted", "peak at once"):
        table.add_column(name, justify="right")
    for s in report.scopes:
        statuses = "  ".join(f"{status}: {count}" for status, count in sorted(s.statuses.items()))
        amounts = [f"{amount:,.0f}" for amount in (s.input, s.output, s.admitted, s.peak_concurrency)]
        table.add_row(s.key, s.model or "(none)", str(s.requests), statuses, *amounts)
    return table
