"""LLMs on azure-ai-inference: clients on the same pipeline whose `complete` is gated, and sends once.

Owns these, and the OpenAI LLM that asks in their place where the responses API is chosen.
"""

from __future__ import annotations

import re
from functools import cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from ratekeeper import runs
from ratekeeper.errors import ConfigError
from ratekeeper.providers import Request, account_of, get, read_usage
from ratekeeper.providers.contents import content_of

from . import clients, gates, inside, subclass, whole

if TYPE_CHECKING:
    from ratekeeper.call import Call

_CLIENTS = {"_get_sync_client": "_client", "_get_async_client": "_async_client"}
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)")
_FORM = whole.Form(read_usage, lambda answer: answer, lambda _, chunks: chunks, lambda _: False)


def overrides(base: Any) -> dict[str, Any]:
    """The getters of both clients."""
    return {name: clients.getter(base, name, slot, _gated) for name, slot in _CLIENTS.items()}


def gate_all(llm: Any, base: Any) -> None:
    """Gates the clients that are there, or the LLM that asks in their place."""
    del base
    for slot in _CLIENTS.values():
        clients.regate(llm, slot, _gated)
    if llm._responses_delegate is not None:
        llm._responses_delegate = subclass.limited(llm._responses_delegate, inside.held(llm))


def _gated(client: Any, llm: Any, hold: inside.Hold) -> Any:
    config: Any = getattr(client, "_config", None)
    if not hasattr(config, "endpoint"):
        raise ConfigError(
            f"this {type(client).__name__} of azure-ai-inference names no endpoint: known is 1.0", field="llm"
        )
    kind: Any = type(client)
    twin = object.__new__(_kind(getattr(kind, "__ratekeeper_base__", kind)))
    twin.__dict__ = dict(client.__dict__)
    key = getattr(getattr(config, "credential", None), "key", "")
    account = account_of(get("azure"), api_key=str(key), base_url=str(config.endpoint))
    deployment = _DEPLOYMENT.search(str(config.endpoint))
    twin._ratekeeper_gate = gates.gate(hold, "azure", account)
    twin._ratekeeper_model = deployment[1] if deployment else llm.model
    return twin


@cache
def _kind(base: Any) -> Any:
    method = _acomplete(base) if iscoroutinefunction(base.complete) else _complete(base)
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**names, "__ratekeeper_base__": base, "complete": method})


def _complete(base: Any) -> Any:
    def complete(self: Any, **body: Any) -> Any:
        def send(call: Call) -> Any:
            return base.complete(self, **_sent_once(body, call))

        return whole.ask(_attempts(self, body), send, _FORM, stream=bool(body.get("stream")))

    return complete


def _acomplete(base: Any) -> Any:
    async def complete(self: Any, **body: Any) -> Any:
        def send(call: Call) -> Any:
            return base.complete(self, **_sent_once(body, call))

        return await whole.aask(_attempts(self, body), send, _FORM, stream=bool(body.get("stream")))

    return complete


def _attempts(client: Any, body: dict[str, Any]) -> Any:
    request = Request(
        body.get("model") or client._ratekeeper_model,
        content_of("chat", body),
        [tool.as_dict() if hasattr(tool, "as_dict") else tool for tool in body.get("tools") or ()] or None,
        body.get("max_tokens"),
        stream=bool(body.get("stream")),
        run=runs.current(),
    )
    return client._ratekeeper_gate.attempts(request)


def _sent_once(body: dict[str, Any], call: Call) -> dict[str, Any]:
    """The arguments with azure-core's own retries off, and an ear for the headers of the answer."""
    return {**body, "retry_total": 0, "raw_response_hook": lambda told: _learn(call, told.http_response)}


def _learn(call: Call, response: Any) -> None:
    """An error's headers are read from the error."""
    if response.status_code < 400:
        call.learn(response.headers)
