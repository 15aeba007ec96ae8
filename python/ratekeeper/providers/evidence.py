"""What an exception holds of the answer that caused it: status, headers, text, and what it is called.

Owns the shapes of the SDKs' and HTTP clients' exceptions. May not import an SDK, judge, or do I/O: the body of
a response that was not read stays unread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ratekeeper.errors import RatekeeperError

from .limits import pairs

#: Exceptions that are raised before a request can leave: of httpx, httpx2, httpcore, aiohttp, urllib3 (under
#: requests), botocore and the socket module.
_UNSENT = frozenset(
    {
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectTimeoutError",
        "ConnectionTimeoutError",
        "ConnectionRefusedError",
        "EndpointConnectionError",
        "InvalidURL",
        "LocalProtocolError",
        "NewConnectionError",
        "PoolTimeout",
        "UnsupportedProtocol",
        "gaierror",
    }
)
#: Whose status nobody sent: litellm's connection errors and timeouts, and aiohttp's parser, which calls an answer
#: that breaks off a bad request.
_SPEECHLESS = frozenset({"APIConnectionError", "HttpProcessingError"})
_LONGEST_CHAIN = 16
#: Characters of a message or a body that are read; a body may quote a whole prompt.
_LONGEST_TEXT = 8192
_DEEPEST = 8
_MOST_FIELDS = 256
#: Python refuses to print whole numbers of thousands of digits.
_LARGEST = 1e18


class Evidence(NamedTuple):
    """What a chain of exceptions holds.

    Attributes:
        status: The HTTP status of the answer, or None if there was none. Below 400 for an error that came in the
            middle of a stream.
        spoken: The status that such an error names itself.
        headers: By name in lower case; litellm's and OpenRouter's too, who keep them elsewhere.
        text: Message and body of the answer; empty if there was no answer, since the text of an exception that
            is not about one (a parser's) may quote a model.
        names: The classes of each exception of the chain, from special to general.
        unsent: Whether it is certain that nothing left the machine.
        ours: Whether ratekeeper itself refused.
    """

    status: int | None
    spoken: int | None
    headers: Mapping[str, str]
    text: str
    names: tuple[str, ...]
    unsent: bool
    ours: bool


def gather(error: BaseException) -> Evidence:
    """The evidence in `error` and in what it was explicitly raised from; the first that had an answer decides."""
    seen: list[str] = []
    unsent = False
    for link in _chain(error):
        names = [kind.__name__ for kind in type(link).__mro__]
        if isinstance(link, RatekeeperError):
            return Evidence(None, None, {}, "", tuple(names), unsent=False, ours=True)
        status, body = _status(link), _body(link)
        if _SPEECHLESS.isdisjoint(names) and (status is not None or isinstance(body, Mapping)):
            text = f"{_message(link)}\n{_flat(body)}"
            return Evidence(
                status, _spoken(link, body), _headers(link, body), text, tuple(names), False, False
            )
        seen += names
        unsent = unsent or not _UNSENT.isdisjoint(names)
    return Evidence(None, None, {}, "", tuple(seen), unsent, ours=False)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it was explicitly raised from.

    Not what was being handled meanwhile: a fallback runs while the first model's error is handled. Some
    frameworks make an exception its own cause, so the walk is bounded.
    """
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or _wrapped(link)


def _wrapped(error: BaseException) -> BaseException | None:
    """What urllib, urllib3, requests and azure-core put inside their exceptions instead of raising from it."""
    inside = [_get(error, "reason"), _get(error, "inner_exception")]
    if isinstance(error, OSError):
        inside += error.args
    return next((thing for thing in inside if isinstance(thing, BaseException)), None)


def _status(error: BaseException) -> int | None:
    """The HTTP status: an SDK's, its response's, botocore's, aiohttp's, google-genai's and urllib's."""
    response = _get(error, "response")
    metadata = _get(response, "ResponseMetadata")
    for source, name in ((error, "status_code"), (response, "status_code"), (metadata, "HTTPStatusCode")):
        if (status := _http(_get(source, name))) is not None:
            return status
    # With a body, `code` is what the body says: see _spoken.
    status = _http(_get(error, "status")) or (
        _http(_get(error, "code")) if _get(error, "body") is None else None
    )
    return status if status is not None and status >= 400 else None


def _spoken(error: BaseException, body: object) -> int | None:
    """A status inside the body, as of OpenRouter in the middle of a stream."""
    inner = _get(body, "error")
    for value in (_get(error, "code"), _get(inner, "code"), _get(body, "code")):
        if (status := _http(value)) is not None:
            return status
    return None


def _http(value: object) -> int | None:
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    return (
        int(value) if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600 else None
    )


def _body(error: BaseException) -> object:
    """The body as parsed by the SDK (openai, anthropic, groq, mistral, botocore, google-genai), or as it came."""
    response = _get(error, "response")
    for body in (_get(error, "body"), response, _get(error, "details"), _get(response, "_content")):
        if isinstance(body, Mapping | str | bytes) and body:
            return body
    return None


def _headers(error: BaseException, body: object) -> dict[str, str]:
    """All headers, an answer's own before those that were kept elsewhere."""
    response = _get(error, "response")
    metadata = _get(_get(body, "error"), "metadata") or _get(body, "metadata")
    found: dict[str, str] = {}
    for headers in (
        _get(response, "headers"),
        _get(error, "headers"),
        _get(error, "litellm_response_headers"),
        _get(_get(response, "ResponseMetadata"), "HTTPHeaders"),
        _get(metadata, "headers"),
    ):
        for name, value in pairs(headers):
            found.setdefault(name, value)
    return found


def _message(error: BaseException) -> str:
    """A foreign `__str__` may raise anything, and the caller is to see the provider's exception and not that."""
    try:
        return str(error)[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001
        return ""


def _flat(body: object) -> str:
    """A body as text in which each field stands as `"name": "value"`."""
    if isinstance(body, bytes):
        return body[:_LONGEST_TEXT].decode("utf-8", "replace")
    if isinstance(body, str):
        return body[:_LONGEST_TEXT]
    fields = _fields(body, "", 0)
    lines = [f'"{name}": "{value}"' for _, (name, value) in zip(range(_MOST_FIELDS), fields, strict=False)]
    return "\n".join(lines)[:_LONGEST_TEXT]


def _fields(value: Any, name: str, depth: int) -> Iterator[tuple[str, object]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _fields(inner, key if isinstance(key, str) else "", depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _fields(inner, name, depth + 1)
    elif isinstance(value, str):
        yield name, value[:_LONGEST_TEXT]
    elif isinstance(value, int | float) and abs(value) < _LARGEST:
        yield name, value


def _get(source: object, name: str) -> Any:
    """A field of a mapping or an object, or None.

    A property of a foreign exception may raise anything (httpx's do without a request), and the caller is to
    see the provider's exception and not that.
    """
    if source is None:
        return None
    try:
        return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    except Exception:  # noqa: BLE001
        return None
