"""Asynchronous work whose model calls block threads.

Owns the pool of these threads, the loop on which their leases are waited for, and what cancelled work gives up.
May not know a framework.

Frameworks run blocking calls of asynchronous work in the event loop's default executor: a few threads that everybody
shares. Calls that wait for a lease would take all of them. On a thread of our own a call could wait in peace, but
nobody could call it back; so the wait itself is a task, on a loop that runs nothing else and is never blocked.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ratekeeper import forks

if TYPE_CHECKING:
    from ratekeeper.call import Call
    from ratekeeper.gate import Attempts

T = TypeVar("T")

#: Threads start when they are needed; each holds one call that waits or is sent.
_MOST_THREADS = 256

_METHOD = "run_in_executor"

_job: ContextVar[Job | None] = ContextVar("ratekeeper_job", default=None)


def current_job() -> Job | None:
    """The asynchronous work for which the code here runs, if any; on threads too, as far as its context goes."""
    return _job.get()


async def on_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Runs a function that asks models on a thread of our own, with the tags and everything else of this context.

    Cancelled while it waits for a lease, it leaves the queue at once and is never sent. One that was sent already is
    finished in the background and settled with what it used.
    """
    loop = asyncio.get_running_loop()
    job = Job(loop)
    context = copy_context()
    context.run(_job.set, job)
    work = partial(context.run, function, *args, **kwargs)
    try:
        return await loop.run_in_executor(job.executor_on(loop), work)
    except asyncio.CancelledError:
        job.cancel()
        raise


@contextmanager
def cancellable() -> Iterator[None]:
    """A job of the code inside, on the running loop: it, its tasks and what they run in the loop's default executor.

    That executor's place is taken by threads of ours. When the code inside is cancelled, its waits on threads are given
    up as those of `on_thread`.
    """
    loop = asyncio.get_running_loop()
    job = Job(loop)
    token = _job.set(job)
    try:
        with _own_threads(loop):
            yield
    except asyncio.CancelledError:
        job.cancel()
        raise
    finally:
        _job.reset(token)


async def cancellable_steps(chunks: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The chunks of a stream whose steps, and the tasks that they start, are a job; a consumer that leaves cancels it."""
    loop = asyncio.get_running_loop()
    job = Job(loop)
    with _own_threads(loop):
        try:
            while (chunk := await _step(chunks, job)) is not _END:
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            job.cancel()
            raise
        finally:
            await chunks.aclose()


_END: Any = object()


async def _step(chunks: AsyncGenerator[T, None], job: Job) -> T:
    """The next chunk; between two of them, the consumer's own calls are no part of the job."""
    token = _job.set(job)
    try:
        return await anext(chunks, _END)
    finally:
        _job.reset(token)


class Job:
    """A piece of asynchronous work, and the tasks that wait for the leases of its blocking calls.

    A job that begins inside another is part of it: with the other one, it is cancelled too.

    Args:
        loop: From which it is cancelled.
    """

    __slots__ = ("_first", "_is_cancelled", "_loop", "_outer", "_tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outer = _job.get()
        self._first: Job = self if self._outer is None else self._outer._first
        self._is_cancelled = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def executor_on(self, loop: asyncio.AbstractEventLoop) -> Executor | None:
        """Where blocking calls run; None for the loop's own executor.

        A loop on one of our threads has threads of its own. If it took ours, full of those that wait for what it does,
        nobody would go on.
        """
        return _pool() if self._first._loop is loop else None

    def attempts(self, attempts: Attempts) -> Any:
        """The same attempts; a blocking wait for each is where it can be cancelled."""
        return _Attempts(attempts, self)

    def cancel(self) -> None:
        """Gives up the waits that are on, and those to come."""
        self._is_cancelled = True
        _waiting_loop().call_soon_threadsafe(self._stop)

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Blocks this thread until `work` is done on the loop that waits.

        Raises:
            CancelledError: The job is cancelled; asyncio's, which no framework takes for a failed call.
        """
        done: Future[T] = Future()
        _waiting_loop().call_soon_threadsafe(self._start, work, done)
        return done.result()

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return any(job._is_cancelled for job in self._and_outer())

    @property
    def blocks_itself(self) -> bool:
        """Whether whoever could cancel the job cannot run while this thread waits."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        return loop is self._first._loop or loop is _waiting_loop()

    def _and_outer(self) -> Iterator[Job]:
        job: Job | None = self
        while job is not None:
            yield job
            job = job._outer

    def _start(self, work: Callable[[], Awaitable[T]], done: Future[T]) -> None:
        if self.is_cancelled:
            done.set_exception(asyncio.CancelledError())
            return
        task = asyncio.get_running_loop().create_task(_run(work))
        for job in self._and_outer():
            job._tasks.add(task)
        task.add_done_callback(partial(self._hand_over, done))

    def _hand_over(self, done: Future[T], task: asyncio.Task[T]) -> None:
        for job in self._and_outer():
            job._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            done.set_result(task.result())
        else:
            done.set_exception(error)

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


class _Attempts:
    """The attempts of one call of a job; each that a thread waits for is handed out with its lease."""

    __slots__ = ("_attempts", "_job")

    def __init__(self, attempts: Attempts, job: Job) -> None:
        self._attempts = attempts
        self._job = job

    def __iter__(self) -> Iterator[Any]:
        return iter(self._attempts) if self._job.blocks_itself else self._entered()

    def __aiter__(self) -> AsyncIterator[Call]:
        return aiter(self._attempts)

    def _entered(self) -> Iterator[_Entered]:
        while (call := self._job.wait(self._next)) is not None:
            if self._job.is_cancelled:  # after the lease was there, and before anything was sent
                call.release()
                raise asyncio.CancelledError
            yield _Entered(call)

    async def _next(self) -> Call | None:
        call: Call | None = await anext(aiter(self._attempts), None)
        return None if call is None else await call.__aenter__()


class _Entered:
    """A call that has its lease already; all else of it is the call's own."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> _Entered:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._call.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _OwnThreads:
    """`run_in_executor` of a loop on which jobs run: theirs goes to our threads, all else where it always went."""

    __slots__ = ("_before", "_original", "jobs")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._before = vars(loop).get(_METHOD)
        self._original: Callable[..., Any] = loop.run_in_executor
        self.jobs = 0

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Puts back what was there, unless somebody else has done so."""
        attributes = vars(loop)
        if attributes.get(_METHOD) is self:
            del attributes[_METHOD]
            if self._before is not None:
                attributes[_METHOD] = self._before

    def __call__(self, executor: Executor | None, function: Any, *args: Any) -> Any:
        job = _job.get()
        if executor is None and job is not None:
            executor = job.executor_on(asyncio.get_running_loop())
        return self._original(executor, function, *args)


@contextmanager
def _own_threads(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Puts that method in place while a job is there."""
    attributes = vars(loop)
    method = attributes.get(_METHOD)
    if not isinstance(method, _OwnThreads):
        # An attribute of the instance stands before the method of its class; asyncio's loops and uvloop's take one.
        method = attributes[_METHOD] = _OwnThreads(loop)
    method.jobs += 1
    try:
        yield
    finally:
        method.jobs -= 1
        if not method.jobs:
            method.leave(loop)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="ratekeeper-job")


_making = forks.lock()


def _waiting_loop() -> asyncio.AbstractEventLoop:
    with _making:
        return _loop()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ratekeeper-job-waits", daemon=True).start()
    return loop


if hasattr(os, "register_at_fork"):
    # A child has none of the threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_loop.cache_clear)
