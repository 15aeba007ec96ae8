"""Plain keyed rates as a decorator, for agents' tools and for endpoints, where no tokens are counted.

Owns the decorator; the rates are the core's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from . import _core
from ._wrapping import inside

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._core import Lease, ManualClock

P = ParamSpec("P")
R = TypeVar("R")


class Throttle(_core.Throttle):
    """A rate for each key: waits with `acquire`, asks with `try_acquire`, or decorates.

    ::

        @rk.Throttle("10/s")
        def search(query: str) -> list[str]: ...

        @rk.Throttle("2/s", key=lambda tenant, *_: tenant, timeout=30)
        async def answer(tenant: str, question: str) -> str: ...

    Args:
        rate: ``"10/s"``, ``"500/m"``, ``"1000/hour"``.
        burst: How many may go at once; as many as the rate gives in its period if None.
        key: For the decorator: a function of the call's arguments that gives the key; None puts all calls
            under one.
        timeout: For the decorator: seconds a call waits; then QuotaExceededError. None waits as long as it
            takes.
        clock: A ManualClock in tests.

    Raises:
        ConfigError: The rate cannot be read, or a number is zero or absurd.
    """

    _key: Callable[..., str] | None
    _timeout: float | timedelta | None

    def __new__(
        cls,
        rate: str,
        *,
        burst: int | None = None,
        key: Callable[..., str] | None = None,
        timeout: float | timedelta | None = None,
        clock: ManualClock | None = None,
    ) -> Self:
        """See the class."""
        self = super().__new__(cls, rate, burst=burst, clock=clock)
        if key is not None and not callable(key):
            raise TypeError(
                f"Throttle(key=...): expected a function of the call's arguments, got {type(key).__name__}"
            )
        self._key = key
        self._timeout = timeout
        return self

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Puts a function or coroutine function under the rate; its signature stays.

        Raises:
            TypeError: It is a generator, or not callable.
        """
        return inside(function, "Throttle", self._turn)

    def _turn(self, *args: object, **kwargs: object) -> Lease:
        return self.acquire(self._key_of(args, kwargs), timeout=self._timeout)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if self._key is None:
            return ""
        key = self._key(*args, **kwargs)
        if not isinstance(key, str):
            raise TypeError(
                f"Throttle(key=...): expected the function to return a str, it returned {type(key).__name__}"
            )
        return key
