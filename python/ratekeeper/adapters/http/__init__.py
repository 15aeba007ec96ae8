"""HTTP clients under a keeper's quotas: httpx and httpx2, synchronous or not.

Owns the entry `wrap`, for clients that users or other adapters have. This is the way for a framework that nobody has
written an adapter for: where it takes an HTTP client, give it a wrapped one, and turn its own retries off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ratekeeper.adapters.audit import Audited
from ratekeeper.errors import ConfigError

from .client import Hold, gated, hold_of
from .way import Way

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

__all__ = ["audit", "wrap"]

T = TypeVar("T")


def audit(obj: object) -> Iterator[Audited]:
    """The client itself: it has no models, only requests that name one."""
    yield Audited("client", type(obj).__name__, "", wrapped=hold_of(obj) is not None)


def wrap(obj: T, keeper: Keeper, options: Options) -> T:
    """A client of the same class, on the same connections, whose requests to models go through `keeper`.

    Requests that ask no model (files, batches, lists) pass as they are. Provider, account and model are read from
    each request. A request that fails is tried again by the keeper's policy; what comes out in the end is the last
    response.

    Args:
        obj: An httpx or httpx2 `Client` or `AsyncClient`.
        keeper: Whose quotas count.
        options: How to wrap it. A client that this keeper has wrapped before is wrapped anew with these.

    Raises:
        ConfigError: Another keeper has wrapped it: two queues in a row would count every call twice.
    """
    way = Way(keeper, options)
    before = hold_of(obj)
    if before is not None and not before.way.same_keeper(way):
        raise ConfigError(
            f"this {type(obj).__name__} is already wrapped by another Keeper; expected the original client",
            field="client",
        )
    origin = obj if before is None else before.origin
    return cast("T", gated(cast("Any", origin), Hold(origin, way)))
