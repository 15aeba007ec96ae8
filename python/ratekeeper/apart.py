"""Threads for calls that hold a lease, apart from those that wait for one.

Owns one pool and the way to it. May not know leases, gates or frameworks.

An asynchronous call that holds a permit may need a thread of its event loop's executor before it can end:
LangChain parses answers there, asyncio resolves host names there, models without asynchronous code run
there altogether. Blocking calls that wait for that very permit (a synchronous tool of an agent) sit on the
same threads. Once they have taken all of them, the one waits for the other for ever. So what a holder asks
of the default executor is given to a pool where nobody waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

#: Threads start when they are needed. Enough for every holder of a large quota; more of them queue up
#: behind each other only.
_MOST_THREADS = 256

_METHOD = "run_in_executor"


class Apart(Awaitable[T]):
    """Awaits `work` in the same task, with a pool of our own in place of the loop's default executor.

    So during the steps of `work` alone: between them, where other tasks run, the loop is as it was.
    """

    __slots__ = ("_work",)

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        loop = asyncio.get_running_loop()
        attributes = vars(loop)
        original = loop.run_in_executor

        def run_in_executor(executor: Executor | None, function: Any, *args: Any) -> Any:
            return original(_pool() if executor is None else executor, function, *args)

        steps = self._work.__await__()
        error: BaseException | None = None
        while True:
            # An attribute of the instance stands before the method of its class; asyncio's loops and uvloop's take one.
            before = attributes.get(_METHOD)
            attributes[_METHOD] = run_in_executor
            try:
                waits_for = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                if before is None:
                    del attributes[_METHOD]
                else:
                    attributes[_METHOD] = before
            try:
                yield waits_for
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 (thrown into the work)
                error = thrown
            else:
                error = None


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="ratekeeper-holder")


if hasattr(os, "register_at_fork"):
    # A child has the pool but none of its threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
