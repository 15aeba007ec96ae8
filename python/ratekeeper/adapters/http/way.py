"""From an HTTP request to the attempts in which it is sent.

Owns the gates of one wrapped client, one for each account that its requests name. May not import an HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ratekeeper import providers, runs
from ratekeeper.providers.exchanges import Asked, dialect_of, read_exchange

if TYPE_CHECKING:
    from ratekeeper.gate import Attempts, Gate, Options
    from ratekeeper.keeper import Keeper


class Plan(NamedTuple):
    """A request that asks a model, and how it is sent.

    Attributes:
        asked: What it asks.
        attempts: In which it is sent.
        adds_usage: Whether the stream is made to carry usage.
    """

    asked: Asked
    attempts: Attempts
    adds_usage: bool


class Way:
    """A wrapped client's way to its keeper.

    Args:
        keeper: Whose quotas count.
        options: How the client was wrapped.
    """

    __slots__ = ("_gates", "_keeper", "_options")

    def __init__(self, keeper: Keeper, options: Options) -> None:
        self._keeper = keeper
        self._options = options
        self._gates: dict[tuple[str, str], Gate] = {}

    def same_keeper(self, other: Way) -> bool:
        """Whether both lead through one keeper."""
        return self._keeper is other._keeper

    @staticmethod
    def asks_model(request: Any) -> bool:
        """Whether a request is to be gated at all; told by its path, before its body is read."""
        return dialect_of(request.method, request.url.path) is not None

    def plan(self, request: Any) -> Plan:
        """How a request that asks a model is sent; its body has been read.

        Raises:
            ConfigError: The user's counting function gave no whole number.
        """
        headers = {
            name.lower().decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw
        }
        asked = read_exchange(
            request.method, str(request.url), headers, request.content, providers=providers.known()
        )
        assert asked is not None, "asks_model has said that it does"
        gate = self._gate(asked.provider, asked.account)
        request = asked.request._replace(run=runs.current())
        try:
            attempts = gate.attempts(request)
        except TypeError:
            # No messages, or not such as anybody knows: they are the provider's to refuse, at the price of a request.
            attempts = gate.attempts(request._replace(content="", tools=None))
        return Plan(asked, attempts, self._options.stream_usage and asked.hides_usage)

    def _gate(self, provider: str, account: str) -> Gate:
        gate = self._gates.get((provider, account))
        if gate is None:
            gate = self._gates[provider, account] = self._keeper.gate(provider, account, self._options)
        return gate
