"""A call of one of LiteLLM's functions behind the gate.

Owns the order arguments → gate → attempts → headers → usage, and that LiteLLM itself sends once per attempt. May not
know which functions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import litellm
from litellm.types.router import RetryPolicy

from ratekeeper.adapters.hearing import CallEar, listening
from ratekeeper.apart import Apart
from ratekeeper.errors import ConfigError

from .identify import read_call
from .streams import abegin, begin, is_stream
from .usage import headers_of, is_from_cache, usage_of

if TYPE_CHECKING:
    from ratekeeper.call import Call
    from ratekeeper.gate import Attempts, Gate, Options
    from ratekeeper.keeper import Keeper


class _Zero(int):
    """No retries, said so that LiteLLM hears it: for embeddings it takes `max_retries or 2`."""

    def __bool__(self) -> bool:
        return True


_MOCKS = ("mock_response", "mock_tool_calls", "mock_timeout")


class Way:
    """From LiteLLM's functions to a keeper: its gates, one for each account that calls name.

    Args:
        keeper: Whose quotas count.
        options: How it was wrapped.
    """

    def __init__(self, keeper: Keeper, options: Options) -> None:
        self.keeper = keeper
        self.options = options
        self._gates: dict[tuple[str, str], Gate] = {}

    def gate(self, provider: str, account: str) -> Gate:
        """The gate of an account, made once."""
        gate = self._gates.get((provider, account))
        if gate is None:
            gate = self._gates[provider, account] = self.keeper.gate(provider, account, self.options)
        return gate


class _Plan(NamedTuple):
    """A call, and how it is sent.

    Attributes:
        given: The arguments that LiteLLM gets.
        attempts: In which it is sent.
        adds_usage: Whether the stream tells its usage for our sake alone.
    """

    given: dict[str, Any]
    attempts: Attempts
    adds_usage: bool


def asks_nobody(given: Mapping[str, Any]) -> bool:
    """Whether a call is to be sent as it is: it asks no model, or is part of one that stands behind a gate."""
    return listening() is not None or any(given.get(name) for name in _MOCKS)


def send(given: dict[str, Any], *, function: Callable[..., Any], way: Way, **about: bool) -> Any:
    """Calls one of LiteLLM's synchronous functions in as many attempts as the keeper's policy allows.

    Raises:
        ConfigError: The arguments, or LiteLLM's globals, would send more than one request.
    """
    if asks_nobody(given):
        return function(**given)
    plan = _plan(given, way, **about)
    for call in plan.attempts:
        with ExitStack() as held:
            held.enter_context(call)
            held.callback((listener := CallEar(call.learn)).end)
            with listener as ear:
                answer = function(**plan.given)
            if _learn(call, ear, answer):
                begin(answer, call, ear, hides=plan.adds_usage)
                held.pop_all()
    return answer


async def asend(given: dict[str, Any], *, function: Callable[..., Any], way: Way, **about: bool) -> Any:
    """`send`, for one of LiteLLM's asynchronous functions.

    Raises:
        ConfigError: As of `send`.
    """
    if asks_nobody(given):
        return await function(**given)
    plan = _plan(given, way, **about)
    async for call in plan.attempts:
        async with AsyncExitStack() as held:
            await held.enter_async_context(call)
            held.callback((listener := CallEar(call.learn)).end)
            with listener as ear:
                answer = await Apart(function(**plan.given))
            if _learn(call, ear, answer):
                await abegin(answer, call, ear, hides=plan.adds_usage)
                held.pop_all()
    return answer


def _learn(call: Call, ear: CallEar, answer: Any) -> bool:
    """Takes what an answer tells, and settles it; whether it is a stream, which will be settled at its end."""
    if is_from_cache(answer):
        call.release()
        return False
    if not ear.has_heard:
        ear.hear(headers_of(answer))
    if is_stream(answer):
        return True
    call.settle(usage_of(answer))
    return False


def _plan(given: dict[str, Any], way: Way, *, embeds: bool = False, tells_usage: bool = False) -> _Plan:
    _check(given)
    asked = read_call(given, embeds=embeds)
    attempts = way.gate(asked.provider, asked.account).attempts(asked.request)
    options = given.get("stream_options") or {}
    adds_usage = (
        tells_usage and way.options.stream_usage and asked.request.stream and not options.get("include_usage")
    )
    sent = _sent_once(given, embeds=embeds)
    if adds_usage:
        sent["stream_options"] = {**options, "include_usage": True}
    return _Plan(sent, attempts, adds_usage)


def _sent_once(given: dict[str, Any], *, embeds: bool) -> dict[str, Any]:
    """The arguments with LiteLLM's own retries off.

    A number of 0 loses against `litellm.num_retries`, a retry policy of the call wins over it: an empty one knows no
    retry. Either costs LiteLLM 100 µs, so they are there only where there is something to turn off. LiteLLM sets
    `max_retries` on a client that it is given, so it is given a copy.
    """
    sent = {**given, "max_retries": _Zero(0) if embeds else 0}
    if given.get("num_retries"):
        sent["num_retries"] = 0
    if litellm.num_retries or given.get("retry_policy"):
        sent["retry_policy"] = RetryPolicy()
    client: Any = given.get("client")
    if getattr(client, "max_retries", 0) and hasattr(client, "with_options"):
        sent["client"] = client.with_options(max_retries=0)
    return sent


def _check(given: Mapping[str, Any]) -> None:
    if litellm.model_fallbacks:
        raise ConfigError(
            "litellm.model_fallbacks is set, whose calls nobody could gate; expected fallbacks= at the call",
            field="model_fallbacks",
        )
    if given.get("model_list"):
        raise ConfigError(
            "model_list= asks several models at once, which nobody could gate; expected keeper.wrap(litellm.Router(...))",
            field="model_list",
        )
