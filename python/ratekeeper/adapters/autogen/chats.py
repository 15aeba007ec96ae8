"""Asynchronous chats, whose model calls AutoGen makes on threads.

Owns the pool of these threads, the loop on which their leases are waited for, and what a cancelled chat gives up.
May not know AutoGen.

AutoGen runs them in the event loop's default executor: a few threads that everybody shares, without the context of
the chat. Calls that wait for a lease would take all of them. On a thread of our own a call could wait in peace, but
nobody could call it back; so the wait itself is a task, on a loop that runs nothing else and is never blocked.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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

_chat: ContextVar[Chat | None] = ContextVar("ratekeeper_chat", default=None)


def current_chat() -> Chat | None:
    """The asynchronous chat for which the code on this thread runs, if any."""
    return _chat.get()


async def on_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Runs a blocking call of a model on a thread of our own, with the tags and everything else of this context.

    Cancelled while it waits for a lease, it leaves the queue at once and is never sent. One that was sent already is
    finished in the background and settled with what it used.
    """
    chat = Chat()
    context = copy_context()
    context.run(_chat.set, chat)
    work = partial(context.run, function, *args, **kwargs)
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool(), work)
    except asyncio.CancelledError:
        chat.cancel()
        raise


class Chat:
    """One blocking call of a chat, and the task that waits for its lease."""

    __slots__ = ("_is_cancelled", "_task")

    def __init__(self) -> None:
        self._is_cancelled = False
        self._task: asyncio.Task[Any] | None = None

    def attempts(self, attempts: Attempts) -> Any:
        """The same attempts, each waited for where it can be cancelled."""
        return _Attempts(attempts, self)

    def cancel(self) -> None:
        """Gives up the wait that is on, or the next one."""
        self._is_cancelled = True
        _waiting_loop().call_soon_threadsafe(self._stop)

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Blocks this thread until `work` is done on the loop that waits.

        Raises:
            CancelledError: The chat is cancelled; asyncio's, which no framework takes for a failed call.
        """
        done: Future[T] = Future()
        _waiting_loop().call_soon_threadsafe(self._start, work, done)
        return done.result()

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._is_cancelled

    def _start(self, work: Callable[[], Awaitable[T]], done: Future[T]) -> None:
        if self._is_cancelled:
            done.set_exception(asyncio.CancelledError())
            return
        self._task = asyncio.get_running_loop().create_task(_run(work))
        self._task.add_done_callback(partial(self._hand_over, done))

    def _hand_over(self, done: Future[T], task: asyncio.Task[T]) -> None:
        self._task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            done.set_result(task.result())
        else:
            done.set_exception(error)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


class _Attempts:
    """The attempts of one call, for a blocking loop on a chat's thread; each is handed out with its lease."""

    __slots__ = ("_attempts", "_chat")

    def __init__(self, attempts: Attempts, chat: Chat) -> None:
        self._attempts = attempts
        self._chat = chat

    def __iter__(self) -> Iterator[_Entered]:
        while (call := self._chat.wait(self._next)) is not None:
            if self._chat.is_cancelled:  # after the lease was there, and before anything was sent
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


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="ratekeeper-chat")


_making = forks.lock()


def _waiting_loop() -> asyncio.AbstractEventLoop:
    with _making:
        return _loop()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ratekeeper-chat-waits", daemon=True).start()
    return loop


if hasattr(os, "register_at_fork"):
    # A child has none of the threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_loop.cache_clear)
