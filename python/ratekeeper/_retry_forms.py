"""Each kind of function that `retry` decorates, and the loop's form.

Owns the loops around attempts; `_retrying` says whether there is another one, and waits for it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._retrying import Course, Plan
from ._wrapping import done

if TYPE_CHECKING:
    from typing_extensions import Self

Y = TypeVar("Y")
#: What an async generator yields that yields nothing.
_NOTHING: Any = object()


def decorate(function: Any, plan: Plan) -> Any:
    """`function` with retries: sync, async, or a generator of either kind.

    Raises:
        TypeError: It is no function.
    """
    if isinstance(function, staticmethod | classmethod):
        return type(function)(decorate(function.__func__, plan))
    if not callable(function) or isinstance(function, type):
        found = function.__name__ if isinstance(function, type) else type(function).__name__
        raise TypeError(f"retry: expected a function, got {found}")
    name = (
        f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    )
    body = _body_of(function)
    if inspect.iscoroutinefunction(body):
        return _async(function, plan, name)
    if inspect.isasyncgenfunction(body):
        return _async_generator(function, plan, name)
    if inspect.isgeneratorfunction(body):
        return _generator(function, plan, name)
    return _sync(function, plan, name)


def _body_of(function: Any) -> Any:
    """What runs when it is called: of a partial its function, of an object its `__call__`."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _sync(function: Callable[..., Any], plan: Plan, name: str) -> Callable[..., Any]:
    @wraps(function)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        course = Course(plan, name)
        while True:
            try:
                result = function(*args, **kwargs)
            except Exception as error:
                wait = course.after(error, blocks=True)
                if wait is None:
                    raise
            else:
                course.succeeded()
                return done(result, "retry")
            course.sleep(wait)

    return retrying


def _async(function: Callable[..., Any], plan: Plan, name: str) -> Callable[..., Any]:
    @wraps(function)
    async def retrying(*args: Any, **kwargs: Any) -> Any:
        course = Course(plan, name)
        while True:
            try:
                result = await function(*args, **kwargs)
            except Exception as error:
                wait = course.after(error, blocks=False)
                if wait is None:
                    raise
            else:
                course.succeeded()
                return result
            await course.sleep_async(wait)

    return retrying


def _generator(function: Callable[..., Any], plan: Plan, name: str) -> Callable[..., Any]:
    def begin(*args: Any, **kwargs: Any) -> _Begun[Any]:
        items = function(*args, **kwargs)
        try:
            return _Begun(items, [next(items)])
        except StopIteration as end:
            return _Begun(items, [], end.value)

    begin_retrying = _sync(begin, plan, name)

    @wraps(function)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        return (yield from begin_retrying(*args, **kwargs))

    return retrying


class _Begun(Generator[Y, Any, Any], Generic[Y]):
    """A generator whose first item is here already, if it has any."""

    def __init__(self, items: Generator[Y, Any, Any], first: list[Y], result: Any = None) -> None:
        self._items = items
        self._first = first
        self._result = result

    def send(self, value: Any) -> Y:
        if self._first:
            return self._first.pop()
        try:
            return self._items.send(value)
        except StopIteration as end:
            # One that had ended before its first item has nothing to tell a second time.
            raise StopIteration(self._result if end.value is None else end.value) from None

    def throw(self, *error: Any) -> Y:
        return self._items.throw(*error)

    def close(self) -> None:
        self._items.close()


def _async_generator(function: Callable[..., Any], plan: Plan, name: str) -> Callable[..., Any]:
    async def begin(*args: Any, **kwargs: Any) -> tuple[AsyncGenerator[Any, Any], Any]:
        items = function(*args, **kwargs)
        return items, await anext(items, _NOTHING)

    begin_retrying = _async(begin, plan, name)

    @wraps(function)
    async def retrying(*args: Any, **kwargs: Any) -> Any:
        items, item = await begin_retrying(*args, **kwargs)
        try:
            while item is not _NOTHING:
                try:
                    sent = yield item
                except GeneratorExit:  # noqa: PERF203 (what the consumer does is met item by item)
                    raise
                except BaseException as error:  # noqa: BLE001 (thrown in by the consumer: the generator's to handle)
                    item = await items.athrow(error)
                else:
                    item = await items.asend(sent)
        except StopAsyncIteration:
            return
        finally:
            await items.aclose()

    return retrying


class Attempt:
    """One attempt of a `retry_context`: what its ``with`` block raises is retried.

    Attributes:
        number: From 1.
    """

    def __init__(self, course: Course, *, blocks: bool) -> None:
        self.number = course.attempt
        self._course = course
        self._blocks = blocks
        self._wait: float | None = None
        self._was_entered = False

    def __enter__(self) -> Self:
        self._was_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._course.succeeded()
        elif isinstance(error, Exception):
            self._wait = self._course.after(error, blocks=self._blocks)
        return self._wait is not None

    def wait_for_next(self) -> float | None:
        """Seconds until the next attempt, or None if this was the last one.

        Raises:
            RuntimeError: It was not used.
        """
        if not self._was_entered:
            raise RuntimeError("retry_context: put what is to be tried into `with attempt:`, inside the loop")
        return self._wait


class Attempts(Iterator[Attempt], AsyncIterator[Attempt]):
    """The attempts of one run through a `retry_context`."""

    def __init__(self, plan: Plan, *, blocks: bool) -> None:
        self._course = Course(plan, "")
        self._blocks = blocks
        self._last: Attempt | None = None

    def __next__(self) -> Attempt:
        if self._last is not None:
            wait = self._last.wait_for_next()
            if wait is None:
                raise StopIteration
            self._course.sleep(wait)
        return self._begin()

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            wait = self._last.wait_for_next()
            if wait is None:
                raise StopAsyncIteration
            await self._course.sleep_async(wait)
        return self._begin()

    def _begin(self) -> Attempt:
        self._last = Attempt(self._course, blocks=self._blocks)
        return self._last


class RetryContext:
    """A block of code that is tried again, in a ``for`` or ``async for`` loop; see `ratekeeper.retry_context`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[Attempt]:
        return Attempts(self._plan, blocks=True)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return Attempts(self._plan, blocks=False)
