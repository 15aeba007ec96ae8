"""One wrapped object's way to its quota: what every adapter does the same.

Owns the identity of the wrapped object. May not import a framework, an SDK or the keeper; that a call within
a call of the same object is counted once is the adapter's business.

For adapters::

    gate = keeper.gate("openai", account, options)  # once per wrapped object; see `providers.account_of`
    for call in gate.attempts(Request(model, messages)):  # or `async for`: one round for each attempt
        with call:  # or `async with`: entering waits for the lease
            response = send()  # once: under the gate, nothing else retries
            call.learn(response.headers)
            call.keep_alive()  # with each chunk of a stream that is passed on
            call.settle(gate.provider.usage(response))  # None if the provider gave no usage
            return response
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .attempts import Attempts
from .call import Call
from .desk import Desk, KeeperId, Lane, find_desk
from .providers import get

if TYPE_CHECKING:
    from .providers import Provider, Request

__all__ = ["Attempts", "Call", "Gate", "Options"]


class Options(NamedTuple):
    """How an object was wrapped.

    Attributes:
        tenant: Whose calls these are; None takes the tenant of `ratekeeper.tags`.
        priority: From -10 to 10; larger goes first, without starving the others.
        timeout: Seconds (or timedelta) a call waits for its lease; None waits as long as it takes.
        agent: Who calls, for estimates and reports; None takes the agent of `ratekeeper.tags`.
        account: A name for the account in place of its key's fingerprint: objects with the same name share
            its quota.
        stream_usage: Whether streams are made to carry usage; False for servers that reject the option.
    """

    tenant: str | None = None
    priority: int = 0
    timeout: float | timedelta | None = None
    agent: str | None = None
    account: str | None = None
    stream_usage: bool = True


class Gate:
    """A wrapped object's way through the keeper; copies of the object share it, and it pickles.

    Attributes:
        provider: The facts of the API the object calls.
        account: The account part of the scope.
        options: How the object was wrapped.
        keeper: By which an unpickled gate finds its keeper at its first call: the same one, or the one of its
            name.
    """

    __slots__ = ("__weakref__", "_desk", "_lanes", "account", "keeper", "options", "provider")

    def __init__(
        self, desk: Desk | None, provider: Provider, account: str, options: Options, *, keeper: KeeperId
    ) -> None:
        self._desk = desk
        self._lanes: dict[str, Lane] = {}
        self.provider = provider
        self.account = account
        self.options = options
        self.keeper = keeper

    def attempts(self, request: Request) -> Attempts:
        """The call in as many attempts as the keeper's retry policy allows; nothing is reserved before one is entered.

        Raises:
            ConfigError: The user's counting function gave no whole number, or an unpickled gate finds no
                keeper.
            Exception: What the provider said when the same run made the same call before, and it was given up.
        """
        desk, lane = self._way(request.model)
        if desk.retry is not None:
            lane.given_up.check(request)
        return Attempts(Call(desk, lane, self.provider, request, self.options), lane, request, desk.retry)

    def call(self, request: Request) -> Call:
        """The claim of a single attempt, to be entered with `with` or `async with`; nothing is reserved before that.

        Raises:
            ConfigError: The user's counting function gave no whole number, or an unpickled gate finds no
                keeper.
        """
        return Call(*self._way(request.model), self.provider, request, self.options)

    def _way(self, model: str) -> tuple[Desk, Lane]:
        desk = self._desk
        if desk is None:
            desk = self._desk = find_desk(self.keeper)
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = desk.lane(self.provider, self.account, model)
        return desk, lane

    def to(self, provider: Provider, account: str) -> Gate:
        """The same keeper's way to another account; this gate itself where nothing changes.

        For copies that were given another key, and for objects that make their models later. An account that
        the options name stays.
        """
        account = self.options.account or account
        if provider is self.provider and account == self.account:
            return self
        return Gate(self._desk, provider, account, self.options, keeper=self.keeper)

    def same_keeper(self, other: Gate) -> bool:
        """Whether both lead through one keeper; one that came here by pickle may know it by name only."""
        if self._desk is None or other._desk is None:
            return self.keeper.name == other.keeper.name
        return self._desk is other._desk

    def __copy__(self) -> Gate:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Gate:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.keeper, self.provider.name, self.account, self.options)

    def __repr__(self) -> str:
        return f"<ratekeeper gate {self.provider.name}/{self.account}>"


def _reopen(keeper: KeeperId, provider: str, account: str, options: Options) -> Gate:
    return Gate(None, get(provider), account, options, keeper=keeper)
