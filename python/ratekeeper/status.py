"""The shapes of what `status()` returns: plain dictionaries, ready for JSON. Types only."""

from __future__ import annotations

from typing import Literal, TypedDict

DimensionName = Literal["requests", "tokens", "input_tokens", "output_tokens"]
StorePolicy = Literal["share", "open", "closed"]


class LimitStatus(TypedDict):
    """One limit as it stands; times in seconds."""

    dimension: DimensionName
    per: float
    limit: int
    burst: int
    remaining: int  # of the burst; negative for a debt
    reset: float  # until the burst is whole again
    source: Literal["configured", "learned", "assumed"]  # by the user, from headers, from refusals
    configured: int | None  # what the user grants, where the limit in force may be less
    age: float | None  # since the limit in force is what it is; None: from the beginning


class StoreStatus(TypedDict):
    """Whether what processes share can be reached; times in seconds."""

    url: str  # without user, password and query
    state: Literal["ok", "lost"]
    since: float  # how long the state has been what it is
    processes: int  # that used it when it was last seen, this one included
    policy: StorePolicy
    losses: int  # how often it was lost
    decided_alone: int  # calls granted while it was lost


class StoreTurn(StoreStatus):
    """A store was lost, or is there again: `since` and `decided_alone` are then those of the loss."""

    is_back: bool
    why: str


class HeadStatus(TypedDict):
    """Why the head of the queue waits."""

    tenant: str
    scope: str  # whose quota has no room
    dimension: str
    ready_in: float | None  # None: until somebody gives a permit back


class Status(TypedDict):
    """A limiter as it stands."""

    name: str
    limits: list[LimitStatus]
    concurrency: int | None  # configured
    adapted_concurrency: int | None  # while the provider is overloaded, or nothing is known of its limits
    paused_for: float | None  # until the time that the provider named
    in_flight: int
    waiting: int  # all that need this quota, also through limiters inside it
    waiting_by_tenant: dict[str, int]
    head: HeadStatus | None
    store: StoreStatus | None  # None: the limiter is this process's own
    within: Status | None  # the enclosing limiter
