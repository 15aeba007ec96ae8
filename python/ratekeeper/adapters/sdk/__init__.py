"""Clients of OpenAI's and Anthropic's SDKs, and of those that are generated alike (Groq's), under a keeper's quotas.

Owns the subclass of the user's own client class: one attempt a request, a gated HTTP client below, and our errors as
themselves. What a request asks, and when it is tried again, is the business of `adapters.http`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ratekeeper._tried import refusal_in
from ratekeeper.adapters import http
from ratekeeper.adapters.audit import Audited
from ratekeeper.adapters.http.client import Hold, gated, hold_of
from ratekeeper.errors import ConfigError, RatekeeperError

from . import sessions

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["audit", "wrap"]

T = TypeVar("T")

_MARK = "__ratekeeper_base__"
#: What every one of these clients has, in the versions that are known (openai 2 and 3, anthropic 0.70 to 2, groq 0 to 1).
_SEAMS = ("_client", "request", "copy", "max_retries")
_LONGEST_CHAIN = 8


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A client of the same class, on the same connections, whose every request to a model goes through `keeper`.

    Chat, responses, embeddings, messages, streams, raw and parsed answers; what asks no model (files, batches, token
    counts) passes as it is. The client itself keeps its connections and its retries.

    Args:
        obj: An `OpenAI`, `AsyncOpenAI`, `AzureOpenAI`, `Anthropic`, … client.
        keeper: Whose quotas count.
        options: How to wrap it.

    Raises:
        ConfigError: Another keeper has wrapped it, or this version of the SDK lacks what a wrap stands on.
    """
    missing = [name for name in _SEAMS if not hasattr(obj, name)]
    if missing:
        raise ConfigError(
            f"this {type(obj).__name__} has no {', '.join(missing)}: expected a client of openai 2 or 3, anthropic 0.70 "
            "or later, or groq",
            field="client",
        )
    client: Any = obj
    kind: Any = type(client)
    twin = _once(client)
    twin._client = http.wrap(client._client, keeper, options)
    twin.__class__ = _kind(getattr(kind, _MARK, kind))
    return cast("T", twin)


def audit(obj: Any) -> Iterator[Audited]:
    """The client itself: it has no models, only requests that name one."""
    yield Audited("client", type(obj).__name__, "", wrapped=hold_of(obj._client) is not None)


def _once(client: Any) -> Any:
    """A copy that sends once; made as the SDK makes copies, with the arguments of its own constructor."""
    try:
        return client.copy(max_retries=0)
    except TypeError as error:
        raise ConfigError(
            f"this {type(client).__name__} cannot be copied, for its constructor takes other arguments than the SDK's "
            f"({error}); expected the SDK's own class, or wrap the http_client that it is given",
            field="client",
        ) from error


@cache
def _kind(base: Any) -> Any:
    is_async = any(kind.__name__ == "AsyncAPIClient" for kind in base.__mro__)
    copy = _copy(base)
    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        _MARK: base,
        "copy": copy,
        "with_options": copy,
        "request": _arequest(base) if is_async else _request(base),
        **sessions.refusals(base),
    }
    return type(base.__name__, (base,), members)


def _copy(base: Any) -> Any:
    def copy(self: Any, **changes: Any) -> Any:
        """As of the SDK, still under the keeper: one attempt a request, whatever client it is sent by."""
        twin = base.copy(self, **{**changes, "max_retries": 0})
        if hold_of(twin._client) is None:
            hold = cast("Hold", hold_of(self._client))
            twin._client = gated(twin._client, Hold(twin._client, hold.way))
        return twin

    return copy


def _request(base: Any) -> Any:
    def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        options.max_retries = 0  # they may say otherwise than the client
        try:
            return base.request(self, cast_to, options, *args, **kwargs)
        except Exception as error:
            _check(error)
            raise

    return request


def _arequest(base: Any) -> Any:
    async def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        options.max_retries = 0  # they may say otherwise than the client
        try:
            return await base.request(self, cast_to, options, *args, **kwargs)
        except Exception as error:
            _check(error)
            raise

    return request


def _check(error: Exception) -> None:
    """Looks at what comes out of the SDK: what was tried stands with it, and our errors are no connection errors.

    Raises:
        RatekeeperError: It was ours.
    """
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if isinstance(link, RatekeeperError):
            raise link from None
        link = None if link is None else link.__cause__
    refusal: Any = refusal_in(error)
    if refusal is not None:
        refusal.shown = error
        for note in getattr(refusal, "__notes__", ()):
            cast("Any", error).add_note(note)
