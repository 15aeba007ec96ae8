"""Whose call it is: tags such as tenant, job, crew, agent and task, carried by the context.

Owns the context variable. May not interpret a tag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class _Frame(NamedTuple):
    """The tags in force, who set them, and what was in force before."""

    merged: Mapping[str, str]
    owner: object
    outer: _Frame | None


_NOTHING: Mapping[str, str] = MappingProxyType({})
_frame: ContextVar[_Frame | None] = ContextVar("ratekeeper_tags", default=None)


def current() -> Mapping[str, str]:
    """The tags in force in this context, read-only; empty outside of any `tags`."""
    frame = _frame.get()
    return _NOTHING if frame is None else frame.merged


class tags:
    """Tags every call made inside: ``with tags(tenant="acme"):``, or ``@tags(job="nightly")``.

    Inner tags add to the outer ones and win over them. They follow `await`, tasks created inside, and
    LangChain's executors; a plain new thread starts without tags. As a decorator it takes functions and
    coroutine functions, but not generators, whose body runs in the contexts of their consumers.

    Args:
        **values: The tags. `tenant` says whose share of the quota a call takes, `agent` who calls; the rest
            is for reports.

    Raises:
        TypeError: A value is not a str.
    """

    __slots__ = ("_values",)

    def __init__(self, **values: str) -> None:
        for name, value in values.items():
            if not isinstance(value, str):
                raise TypeError(f"tags({name}=...): expected a str, got {type(value).__name__}")
        self._values = values

    def __enter__(self) -> Mapping[str, str]:
        outer = _frame.get()
        before = _NOTHING if outer is None else outer.merged
        frame = _Frame(MappingProxyType({**before, **self._values}), self, outer)
        _frame.set(frame)
        return frame.merged

    def __exit__(self, *_: object) -> None:
        frame = _frame.get()
        if frame is None or frame.owner is not self:
            raise RuntimeError(
                "tags were left out of order: leave the innermost first, in the context that entered them"
            )
        _frame.set(frame.outer)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Runs `function` (sync or async) under these tags.

        Raises:
            TypeError: `function` is a generator.
        """
        from ._wrapping import done, is_coroutine_function  # noqa: PLC0415

        if is_coroutine_function(function, "tags"):

            @wraps(function)
            async def tagged_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await cast("Callable[P, Any]", function)(*args, **kwargs)

            return cast("Callable[P, R]", tagged_async)

        @wraps(function)
        def tagged(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return done(function(*args, **kwargs), "tags")

        return tagged


def carried(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with the tags, job and budgets that are in force here, on whatever thread it runs.

    For plain threads and thread pools, which start without them: ``pool.map(carried(kickoff), topics)``. `await`, tasks,
    `asyncio.to_thread` and the executors of LangChain and CrewAI need it not.
    """
    context = copy_context()

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: a context serves one thread at a time.
        return context.copy().run(function, *args, **kwargs)

    return run
