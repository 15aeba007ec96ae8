"""The third act of the demo: six processes with one key and an uneven load, in three ways.

Owns the work of the act, its arithmetic and its processes. Prints nothing; the SDK is imported in the processes.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from threading import Barrier
from typing import NamedTuple

from ratekeeper import Keeper, Limit, Quota
from ratekeeper.errors import RatekeeperError
from ratekeeper.testing import FakeProvider

MODEL = "gpt-4o-mini"
#: The quota of the key: requests a second, and as many at the start.
PER_SECOND = 18
#: How many calls each process has to make.
LOADS = (42, 12, 6, 6, 6, 6)
#: Seconds that the provider takes for an answer.
LATENCY = 0.2
#: The ways, and what part of the quota each process is given: none, as if there were no ratekeeper; its share; all.
PARTS = {"bare": None, "split": len(LOADS), "shared": 1}
_PATIENCE = 60.0

#: All processes begin at the same moment.
_together: list[Barrier] = []


class Way(NamedTuple):
    """What came of one way, or of one process.

    Attributes:
        answered: Calls answered.
        failed: Calls that ended in an exception.
        seconds: From the first call to the last answer.
        refused: Requests that the provider answered with a 429.
    """

    answered: int
    failed: int
    seconds: float
    refused: int = 0


def ideal() -> float:
    """Seconds that nobody can beat, whoever makes which call."""
    return (sum(LOADS) - PER_SECOND) / PER_SECOND + LATENCY


def try_all() -> dict[str, Way]:
    """All ways by name, one after the other, each on a full quota.

    Raises:
        FakeProviderError: The provider did not start.
    """
    provider = FakeProvider.spawn(rpm=PER_SECOND, window=1.0, latency=LATENCY)
    # As independent of one another as pods are.
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(LOADS), timeout=_PATIENCE)
    processes = ProcessPoolExecutor(len(LOADS), context, _prepare, (barrier,))
    with provider, processes, tempfile.TemporaryDirectory() as folder:
        return {name: _try(name, provider, processes, Path(folder) / "quota.db") for name in PARTS}


def _try(name: str, provider: FakeProvider, processes: ProcessPoolExecutor, file: Path) -> Way:
    provider.reset()
    store = f"sqlite:///{file}" if name == "shared" else None
    done = list(processes.map(_work, LOADS, repeat(PARTS[name]), repeat(store), repeat(provider.openai_url)))
    return Way(
        sum(each.answered for each in done),
        sum(each.failed for each in done),
        max(each.seconds for each in done),
        provider.report(timeline=False).refused,
    )


def _prepare(barrier: Barrier) -> None:
    """In a new process: all that takes long."""
    import openai  # noqa: F401

    # What six processes are told would be in the way of the table.
    logging.getLogger("ratekeeper").setLevel(logging.ERROR)
    _together.append(barrier)


def _work(calls: int, parts: int | None, store: str | None, url: str) -> Way:
    """One process: its calls, all at once."""
    from openai import AsyncOpenAI, OpenAIError

    async def work() -> list[object]:
        client = AsyncOpenAI(base_url=url, api_key="sk-demo")
        if parts is not None:
            share = PER_SECOND // parts
            client = Keeper(Quota(Limit("requests", share, 1)), store=store).wrap(client)
        async with client:
            asked = (
                client.chat.completions.create(
                    model=MODEL, max_tokens=16, messages=[{"role": "user", "content": f"Question {number}?"}]
                )
                for number in range(calls)
            )
            return await asyncio.gather(*asked, return_exceptions=True)

    _together[0].wait()
    start = time.monotonic()
    done = asyncio.run(work())
    failed = [each for each in done if isinstance(each, BaseException)]
    for error in failed:
        if not isinstance(error, OpenAIError | RatekeeperError):
            raise error
    return Way(calls - len(failed), len(failed), time.monotonic() - start)
