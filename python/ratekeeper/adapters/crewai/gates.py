"""The gates of a wrapped LLM, under which a blocking call of a job can be called back.

Owns the way there for each kind of client below: each of them has a maker of gates of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ratekeeper.adapters.http.client import Hold as HttpHold
from ratekeeper.adapters.http.client import gated, hold_of
from ratekeeper.adapters.http.way import Plan, Way
from ratekeeper.adapters.jobs import current_job
from ratekeeper.gate import Gate

if TYPE_CHECKING:
    from ratekeeper.gate import Attempts, Options
    from ratekeeper.keeper import Keeper
    from ratekeeper.providers import Provider, Request

    from .inside import Hold


def gate(hold: Hold, provider: str, account: str) -> Gate:
    """The gate of an account, for whoever calls it there."""
    return Maker(hold.keeper).gate(provider, account, hold.options)


def keeper(hold: Hold) -> Keeper:
    """A keeper for adapters that take nothing but gates of one."""
    return cast("Keeper", Maker(hold.keeper))


def on_way(client: Any, hold: Hold) -> Any:
    """A gated HTTP client whose requests go by a way of ours."""
    origin = cast("HttpHold", hold_of(client)).origin
    return gated(origin, HttpHold(origin, _Way(hold.keeper, hold.options)))


def _of_job(attempts: Attempts) -> Any:
    job = current_job()
    return attempts if job is None else job.attempts(attempts)


class Maker:
    """Makes gates like a keeper.

    Args:
        keeper: Whose gates they are.
    """

    __slots__ = ("_keeper",)

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def gate(self, provider: str, account: str, options: Options | None = None) -> Gate:
        """As of `Keeper.gate`."""
        return _under(self._keeper.gate(provider, account, options))

    def __repr__(self) -> str:
        return repr(self._keeper)


class _Gate(Gate):
    """A gate whose attempts can be called back where a job waits for them."""

    __slots__ = ()

    def attempts(self, request: Request) -> Attempts:
        return cast("Attempts", _of_job(super().attempts(request)))

    def to(self, provider: Provider, account: str) -> Gate:
        return _under(super().to(provider, account))

    def __reduce__(self) -> tuple[Any, ...]:
        reopen, about = super().__reduce__()
        return _reopen, (reopen, about)


def _under(plain: Gate) -> Gate:
    if isinstance(plain, _Gate):
        return plain
    return _Gate(plain._desk, plain.provider, plain.account, plain.options, keeper=plain.keeper)


def _reopen(reopen: Any, about: tuple[Any, ...]) -> Gate:
    return _under(reopen(*about))


class _Way(Way):
    """A wrapped client's way to its keeper, as far as requests of jobs go."""

    __slots__ = ()

    def plan(self, request: Any) -> Plan:
        """As of any wrapped client; what a job waits for can be called back."""
        plan = super().plan(request)
        return plan._replace(attempts=_of_job(plan.attempts))
