"""LLMs on Amazon Bedrock: clients of their own that send once and whose `converse` is gated.

Owns these. CrewAI's retry three times and more, as said when they are made; so a wrapped LLM has others, to the same
place and with the same credentials.
"""

from __future__ import annotations

from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any

from ratekeeper import runs
from ratekeeper.providers import Request, account_of, get, read_usage
from ratekeeper.providers.contents import content_of

from . import clients, gates, inside, seams, whole

_ONCE = {"mode": "standard", "total_max_attempts": 1}
_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def _read(answer: Any) -> Any:
    """The usage of an answer, or of the event of a stream that has it."""
    metadata = answer.get("metadata", answer)
    return read_usage(metadata) if "usage" in metadata else None


#: After the end of a block of content CrewAI may call a tool and the model again, while the stream stands.
_FORM = whole.Form(
    _read,
    lambda answer: answer["stream"],
    lambda answer, chunks: {**answer, "stream": chunks},
    lambda event: "contentBlockStop" in event,
)


def overrides(base: Any) -> dict[str, Any]:
    """The getter of the synchronous client and the maker of the asynchronous one."""
    seams.methods(base, "_ensure_async_client")
    return {
        "_get_sync_client": clients.getter(base, "_get_sync_client", "_client", _gated),
        "_ensure_async_client": _ensure_async_client,
    }


def gate_all(llm: Any, base: Any) -> None:
    """Makes the synchronous client anew, if there is one; the asynchronous one when it is needed."""
    del base
    clients.regate(llm, "_client", _gated)
    llm._async_client, llm._async_client_initialized = None, False


def _gated(client: Any, llm: Any, hold: inside.Hold) -> Any:
    boto3, config = import_module("boto3.session"), import_module("botocore.config")
    once = client.meta.config.merge(config.Config(retries=_ONCE))
    session = boto3.Session(**_credentials(llm), region_name=llm.region_name)
    place = client.meta.endpoint_url
    return _under(session.client("bedrock-runtime", config=once, endpoint_url=place), llm, hold)


async def _ensure_async_client(self: Any) -> Any:
    if not self._async_client_initialized:
        session, config = import_module("aiobotocore.session"), import_module("aiobotocore.config")
        made = session.get_session().create_client(
            "bedrock-runtime",
            region_name=self.region_name,
            config=config.AioConfig(retries=_ONCE),
            **_credentials(self),
        )
        client = await self._async_exit_stack.enter_async_context(made)
        self._async_client = _under(client, self, inside.held(self))
        self._async_client_initialized = True
    return self._async_client


def _credentials(llm: Any) -> dict[str, Any]:
    return {name: getattr(llm, name) for name in _KEYS}


def _under(client: Any, llm: Any, hold: inside.Hold) -> Any:
    """The client itself, of a subclass of its class, which botocore makes anew for each client."""
    base = type(client)
    account = account_of(
        get("bedrock"), api_key=llm.aws_access_key_id or "", base_url=client.meta.endpoint_url
    )
    client._ratekeeper_gate = gates.gate(hold, "bedrock", account)
    method = _aconverse if iscoroutinefunction(base.converse) or _is_async(base) else _converse
    members = {
        "__module__": base.__module__,
        "__ratekeeper_base__": base,
        "converse": method(base.converse, stream=False),
        "converse_stream": method(base.converse_stream, stream=True),
    }
    client.__class__ = type(base.__name__, (base,), members)
    return client


def _is_async(base: Any) -> bool:
    return any(kind.__module__.startswith("aiobotocore") for kind in base.__mro__)


def _converse(send: Any, *, stream: bool) -> Any:
    def converse(self: Any, **body: Any) -> Any:
        attempts = self._ratekeeper_gate.attempts(_request(body, stream=stream))
        return whole.ask(attempts, lambda _: send(self, **body), _FORM, stream=stream)

    return converse


def _aconverse(send: Any, *, stream: bool) -> Any:
    async def converse(self: Any, **body: Any) -> Any:
        attempts = self._ratekeeper_gate.attempts(_request(body, stream=stream))
        return await whole.aask(attempts, lambda _: send(self, **body), _FORM, stream=stream)

    return converse


def _request(body: dict[str, Any], *, stream: bool) -> Request:
    return Request(
        body["modelId"],
        content_of("converse", body),
        (body.get("toolConfig") or {}).get("tools"),
        (body.get("inferenceConfig") or {}).get("maxTokens"),
        stream=stream,
        run=runs.current(),
    )
