"""What comes out of a gated client when no answer does.

Owns our own errors in the dress of an SDK that would take any other for a broken connection.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from ratekeeper.errors import RatekeeperError


def dressed(error: RatekeeperError, request: Any) -> RatekeeperError:
    """`error` itself, or of a class that the SDK that sends `request` lets through as it is.

    OpenAI's SDK passes its own errors on; any other that comes out of its HTTP client it tries again and then calls a
    connection error, which AutoGen answers by billing the next entry of its list.
    """
    base = _openai_error() if "OpenAI/Python" in request.headers.get("user-agent", "") else None
    if base is None or isinstance(error, base):
        return error
    kind: Any = type(error)
    return _recast(error, _kind(kind, base)).with_traceback(error.__traceback__)


def _recast(error: RatekeeperError, kind: Any) -> RatekeeperError:
    twin: RatekeeperError = kind.__new__(kind, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


def _openai_error() -> Any:
    return getattr(sys.modules.get("openai"), "OpenAIError", None)


@cache
def _kind(kind: Any, base: Any) -> Any:
    """A class of both; it pickles as ours alone."""

    def __reduce__(self: Any) -> Any:
        return _recast(self, kind).__reduce__()

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, base), {**names, "__reduce__": __reduce__})
