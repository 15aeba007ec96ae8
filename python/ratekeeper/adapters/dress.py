"""Our errors in the dress of a framework's own, where it passes on those only.

Owns the classes of both kinds. Which base a framework lets through, its adapter says.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ratekeeper.errors import RatekeeperError


def dressed(error: RatekeeperError, base: Any) -> RatekeeperError:
    """`error` itself, or its twin of a class that is `base` too."""
    if base is None or isinstance(error, base):
        return error
    kind: Any = type(error)
    return _recast(error, _kind(kind, base)).with_traceback(error.__traceback__)


def _recast(error: RatekeeperError, kind: Any) -> RatekeeperError:
    twin: RatekeeperError = kind.__new__(kind, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


@cache
def _kind(kind: Any, base: Any) -> Any:
    """A class of both; it pickles as ours alone."""

    def __reduce__(self: Any) -> Any:
        return _recast(self, kind).__reduce__()

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, base), {**names, "__reduce__": __reduce__})
