"""``ratekeeper demo``: a few hundred calls without ratekeeper, then with it, under two quotas; then six processes.

In the first act the quota is known, in the second it is cut in mid-run, in the third many processes have one key.

Owns the options, the order of the acts, the environment of the run and its exit code. Loaded only by the command,
since it imports click and rich.
"""

from __future__ import annotations

import asyncio
import logging
import os
from importlib.util import find_spec

import click  # noqa: TID253
from rich.console import Console  # noqa: TID253

from ratekeeper.cli.demo_many import try_all
from ratekeeper.cli.demo_plan import KEPT, LATENCY, OUTPUT_TOKENS, TOKEN_LATENCY, Plan
from ratekeeper.cli.demo_run import compare
from ratekeeper.cli.demo_screen import (
    LogLines,
    five_lines,
    formula,
    introduce_many,
    introduction,
    screen_for,
    table,
    table_of_many,
)
from ratekeeper.testing.client import FakeProviderError
from ratekeeper.testing.limits import QuotaChange
from ratekeeper.testing.provider import FakeProvider

_NEEDED = ("langchain_core", "langchain_openai", "starlette", "uvicorn")


@click.command("demo")
@click.option("--calls", type=click.IntRange(1, 10_000), default=400, show_default=True, help="Calls a run.")
@click.option(
    "--at-once", type=click.IntRange(1, 500), default=50, show_default=True, help="Calls in the air at once."
)
@click.option(
    "--rpm", type=click.IntRange(1), default=320, show_default=True, help="The quota: requests a minute."
)
@click.option(
    "--tpm", type=click.IntRange(1), default=220_000, show_default=True, help="The quota: tokens a minute."
)
def command(calls: int, at_once: int, rpm: int, tpm: int) -> None:
    """Run ChatOpenAI against a local provider's quota: bare, then wrapped.

    In a second act the quota is cut to half in mid-run, in a third six processes share it. Nothing leaves this machine
    and no API key is needed. Exits with 1 if a wrapped call failed.
    """
    _require_extras()
    _stay_local()
    plan = Plan.of(calls, at_once, rpm, tpm)
    console = Console()
    _log_to(console)
    failed = [_play(act, console) for act in (plan, plan.cut())]
    if not any(failed):
        failed.append(_play_many(console))
    five_lines(console, plan)
    if any(failed):
        raise click.exceptions.Exit(1)


def _play(plan: Plan, console: Console) -> int:
    """One act; returns how many of its wrapped calls failed."""
    introduction(console, plan)
    try:
        with _provider_of(plan) as provider:
            bare, wrapped = asyncio.run(compare(plan, provider, screen_for(console)))
    except FakeProviderError as error:
        raise click.ClickException(str(error)) from error
    console.print(table(plan, bare, wrapped))
    formula(console, plan)
    return wrapped.failed


def _play_many(console: Console) -> int:
    """The third act; returns how many calls failed under a keeper."""
    introduce_many(console)
    try:
        ways = try_all()
    except FakeProviderError as error:
        raise click.ClickException(str(error)) from error
    console.print(table_of_many(ways))
    console.print()
    return ways["split"].failed + ways["shared"].failed


def _provider_of(plan: Plan) -> FakeProvider:
    """A provider that grants what the plan says; each run starts its time anew."""
    cut = QuotaChange(at=plan.cut_at, rpm=plan.rpm * KEPT, tpm=plan.tpm * KEPT) if plan.is_cut else None
    return FakeProvider.spawn(
        rpm=plan.rpm,
        tpm=plan.tpm,
        latency=LATENCY,
        token_latency=TOKEN_LATENCY,
        output_tokens=OUTPUT_TOKENS,
        output_sigma=0.4,
        changes=[cut] if cut else [],
    )


def _require_extras() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f'the demo needs an extra (no module {", ".join(missing)}): pip install "ratekeeper[demo]"'
        )


def _log_to(console: Console) -> None:
    """Shows what ratekeeper logs: what it was told of the limits, and when it was refused."""
    logger = logging.getLogger("ratekeeper")
    logger.addHandler(LogLines(console))
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _stay_local() -> None:
    """Keeps this process from a proxy and from tracing, whatever its environment says of real calls."""
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ[name] = "false"
    os.environ.pop("OPENAI_PROXY", None)
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        os.environ[name] = f"127.0.0.1,{others}" if others else "127.0.0.1"
