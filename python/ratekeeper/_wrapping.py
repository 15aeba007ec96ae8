"""What our decorators have in common: telling the kinds of functions apart, and waiting before they run.

Owns both, so that nothing runs outside of a decorator unnoticed. Imports `inspect` when a decorator is used,
not when ratekeeper is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from contextlib import nullcontext

    from ._core import Lease
    from .budgets.job import Job

P = ParamSpec("P")
R = TypeVar("R")


def inside(
    function: Callable[P, R], decorator: str, lease: Callable[P, Lease | Job | nullcontext[None]]
) -> Callable[P, R]:
    """`function`, sync or async, run inside the lease that its arguments call for; its signature stays.

    Raises:
        TypeError: It is a generator, or not callable.
    """
    if is_coroutine_function(function, decorator):

        @wraps(function)
        async def waiting_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with lease(*args, **kwargs):
                return await cast("Callable[P, Any]", function)(*args, **kwargs)

        return cast("Callable[P, R]", waiting_async)

    @wraps(function)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> R:
        with lease(*args, **kwargs):
            return done(function(*args, **kwargs), decorator)

    return waiting


def done(result: R, decorator: str) -> R:
    """What a plain function gave.

    Raises:
        TypeError: It is a coroutine: nothing has run yet, and it would run when the decorator is through.
    """
    if isinstance(result, CoroutineType):
        result.close()
        raise TypeError(
            f"{decorator}: the function returned a coroutine, which would run outside of it; "
            "decorate the coroutine function (async def) itself"
        )
    return result


def is_coroutine_function(function: Callable[..., Any], decorator: str) -> bool:
    """Whether `function` (or a callable object's `__call__`, or what a partial calls) is a coroutine function.

    Raises:
        TypeError: It is not callable, or a generator, whose body runs after the decorator's wrapper has
            returned.
    """
    import inspect  # noqa: PLC0415

    if not callable(function):
        raise TypeError(f"{decorator}: expected a function, got {type(function).__name__}")
    while isinstance(function, partial):
        function = function.func
    plain = inspect.isroutine(function) or isinstance(function, type)
    body = function if plain else type(function).__call__
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise TypeError(
            f"{decorator}: a generator cannot be decorated; use it as a context manager around the loop"
        )
    return inspect.iscoroutinefunction(body)
