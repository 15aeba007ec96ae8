"""Threads that ask a store which is not here, so that no event loop stands still meanwhile.

Owns the threads of each process. They are not those of the loop, which may be full of calls that wait for what is settled here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ratekeeper import forks
from ratekeeper._core import Hold
from ratekeeper.errors import StoreError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

_log = logging.getLogger("ratekeeper")

#: How many steps may be under way at once.
_THREADS = 4
#: By process, since a child of a fork inherits no threads.
_clerks: dict[int, ThreadPoolExecutor] = {}
#: Held while they are made.
_making = forks.lock()


def submit(step: Callable[..., T], *arguments: Any) -> Future[T]:
    """Has a clerk do it, soon. What is under way when the interpreter ends is ended first."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (only where a store is not here)

    pid = os.getpid()
    with _making:
        if pid not in _clerks:
            _clerks.clear()
            _clerks[pid] = ThreadPoolExecutor(_THREADS, "ratekeeper-budgets")
        return _clerks[pid].submit(step, *arguments)


async def apart(step: Callable[..., T], *arguments: Any) -> T:
    """What a clerk has found; a hold that nobody waits for any more is given back."""
    import asyncio  # noqa: PLC0415 (loaded already, by whoever runs this)

    done = submit(step, *arguments)
    try:
        return await asyncio.wrap_future(done)
    except asyncio.CancelledError:
        done.add_done_callback(_give_back)
        raise


def _give_back(done: Future[Any]) -> None:
    if done.cancelled() or done.exception() is not None or not isinstance(done.result(), Hold):
        return
    try:
        done.result().settle(0, 0, 0)
    except StoreError as error:
        _log.warning("what a cancelled call had reserved of its budgets stays reserved: %s", error)
