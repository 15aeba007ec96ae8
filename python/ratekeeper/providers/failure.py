"""What a failed call means for the amounts it reserved.

Owns the reading of exceptions, by their shape: no SDK is imported. Retries are no concern of this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

#: unsent: nothing left the machine. rejected: refused before the model ran. unknown: the model may have run.
Failure = Literal["unsent", "rejected", "unknown"]

#: Exceptions of httpx, httpx2, httpcore and aiohttp that are raised before a request can leave.
_UNSENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "UnsupportedProtocol",
        "InvalidURL",
        "ClientConnectorError",
    }
)
#: 408 may follow a model's work. A 429 says that the provider counts more than we do: giving the tokens back
#: would only send the next call into the same wall.
_NOT_REJECTED = frozenset({408, 429})
_LONGEST_CHAIN = 16


def failure_of(error: BaseException) -> Failure:
    """How far a call came that ended in `error`.

    A 4xx other than 408 and 429 was refused before the model ran: its tokens are given back. Its request is
    not, since "unsuccessful requests contribute to your per-minute limit" (OpenAI; Anthropic's documentation is
    silent). Without a status, only an exception that says the connection was never made counts as unsent.
    """
    for link in _chain(error):
        status = _status(link)
        if status is not None:
            return "rejected" if 400 <= status < 500 and status not in _NOT_REJECTED else "unknown"
        if isinstance(link, ConnectionRefusedError) or type(link).__name__ in _UNSENT:
            return "unsent"
    return "unknown"


def _status(error: BaseException) -> int | None:
    """The HTTP status an SDK's exception carries, itself or on its response."""
    for source in (error, getattr(error, "response", None)):
        status = getattr(source, "status_code", None)
        if isinstance(status, int) and not isinstance(status, bool):
            return status
    return None


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
        link = link.__cause__
