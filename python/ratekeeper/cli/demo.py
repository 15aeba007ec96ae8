"""``ratekeeper demo``: a few hundred calls under a quota, first without ratekeeper, then with it.

Owns the options, the environment of the run and its exit code. Loaded only by the command, since it imports
click and rich.
"""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec

import click  # noqa: TID253
from rich.console import Console  # noqa: TID253

from ratekeeper.cli.demo_plan import LATENCY, OUTPUT_TOKENS, TOKEN_LATENCY, Plan
from ratekeeper.cli.demo_run import compare
from ratekeeper.cli.demo_screen import five_lines, formula, introduction, screen_for, table
from ratekeeper.testing.client import FakeProviderError
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

    Nothing leaves this machine and no API key is needed. Exits with 1 if a wrapped call failed.
    """
    _require_extras()
    _stay_local()
    plan = Plan.of(calls, at_once, rpm, tpm)
    console = Console()
    introduction(console, plan)
    provider = FakeProvider.spawn(
        rpm=rpm,
        tpm=tpm,
        latency=LATENCY,
        token_latency=TOKEN_LATENCY,
        output_tokens=OUTPUT_TOKENS,
        output_sigma=0.4,
    )
    try:
        with provider:
            bare, wrapped = asyncio.run(compare(plan, provider, screen_for(console)))
    except FakeProviderError as error:
        raise click.ClickException(str(error)) from error
    console.print(table(plan, bare, wrapped))
    formula(console, plan)
    five_lines(console, plan)
    if wrapped.failed:
        raise click.exceptions.Exit(1)


def _require_extras() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f'the demo needs an extra (no module {", ".join(missing)}): pip install "ratekeeper[demo]"'
        )


def _stay_local() -> None:
    """Keeps this process from a proxy and from tracing, whatever its environment says of real calls."""
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ[name] = "false"
    os.environ.pop("OPENAI_PROXY", None)
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        os.environ[name] = f"127.0.0.1,{others}" if others else "127.0.0.1"
