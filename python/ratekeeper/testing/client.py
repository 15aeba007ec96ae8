"""Asking a running fake provider over HTTP, from the process that owns it or another one.

Owns one request at a time on a fresh loopback connection, by the standard library alone: no proxy, no SDK.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

from ratekeeper.errors import RatekeeperError

_TIMEOUT = 30.0


class FakeProviderError(RatekeeperError):
    """The fake provider could not be started, or refused what it was asked."""


def ask(host: str, port: int, method: str, path: str, body: object = None) -> Any:
    """The JSON that a path answers; None where it answers nothing.

    Raises:
        FakeProviderError: It refused, saying why.
        OSError: Nobody answers.
    """
    connection = HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    answer = json.loads(raw) if raw.startswith((b"{", b"[")) else None
    if response.status >= 400:
        raise FakeProviderError(answer["error"] if answer else f"{method} {path}: {response.status}")
    return answer
