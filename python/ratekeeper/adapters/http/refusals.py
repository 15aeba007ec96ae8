"""What comes out of a gated client when no answer does.

Owns which SDK needs our errors in its own dress.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ratekeeper.adapters import dress

if TYPE_CHECKING:
    from ratekeeper.errors import RatekeeperError


def dressed(error: RatekeeperError, request: Any) -> RatekeeperError:
    """`error` itself, or of a class that the SDK that sends `request` lets through as it is.

    OpenAI's SDK passes its own errors on; any other that comes out of its HTTP client it tries again and then calls a
    connection error, which AutoGen answers by billing the next entry of its list.
    """
    is_openai = "OpenAI/Python" in request.headers.get("user-agent", "")
    return dress.dressed(
        error, getattr(sys.modules.get("openai"), "OpenAIError", None) if is_openai else None
    )
