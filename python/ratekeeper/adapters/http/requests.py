"""Requests that are sent otherwise than they were asked.

Owns the one change there is: a stream that is to tell its usage.
"""

from __future__ import annotations

import json
from typing import Any

from ratekeeper.providers.exchanges import Asked


def telling_usage(request: Any, asked: Asked) -> Any:
    """The same request for a stream that ends with its usage; uncompressed, so that what nobody asked for can be left out."""
    body = asked.body or {}
    given = body.get("stream_options")
    options = {**(given if isinstance(given, dict) else {}), "include_usage": True}
    content = json.dumps(
        {**body, "stream_options": options}, separators=(",", ":"), ensure_ascii=False
    ).encode()
    headers = request.headers.copy()
    headers["content-length"] = str(len(content))
    headers["accept-encoding"] = "identity"
    return type(request)(
        request.method, request.url, headers=headers, content=content, extensions=request.extensions
    )
