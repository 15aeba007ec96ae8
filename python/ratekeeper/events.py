"""What happens to a call, one class each.

Owns the events' fields. A module of its own, so that nobody without hooks pays for the dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hooks import EventName
    from .providers import Amounts, Usage
    from .providers.failure import Failure


@dataclass(frozen=True)
class Event:
    """What every event tells.

    Attributes:
        scope: Whose quota, as ``provider/account/group``; the account is a fingerprint, never a key.
        tenant: Whose call; "" for nobody's in particular.
        model: The model, or the Azure deployment.
        caller: The agent or chain that called; "" if unknown.
        tags: The tags in force where the call was made.
        amounts: What the call holds of its quota: reserved before the answer, counted after it.
    """

    scope: str
    tenant: str
    model: str
    caller: str
    tags: Mapping[str, str]
    amounts: Amounts


@dataclass(frozen=True)
class Waited(Event):
    """A call had to wait for its lease (more than a millisecond) and now has it.

    Attributes:
        waited: Seconds.
    """

    waited: float


@dataclass(frozen=True)
class Started(Event):
    """A call has its lease and goes out. Exactly one Settled or Failed follows.

    Attributes:
        waited: Seconds in the queue.
    """

    waited: float


@dataclass(frozen=True)
class Settled(Event):
    """A call ended without an error.

    Attributes:
        waited: Seconds in the queue.
        usage: What the provider counted; None if it is unknown (a stream broken off) and the reservation was
            kept.
    """

    waited: float
    usage: Usage | None


@dataclass(frozen=True)
class Failed(Event):
    """A call ended with an error after it had started.

    Another attempt may follow, with a Started of its own.

    Attributes:
        waited: Seconds in the queue.
        error: What was raised, by the provider as a rule.
        failure: What it means; None if the caller broke off.
    """

    waited: float
    error: BaseException
    failure: Failure | None


@dataclass(frozen=True)
class Refused(Event):
    """A call never started: it could never fit, found no room in time, or its caller gave up waiting.

    Attributes:
        error: Why: NeverFitsError, QuotaExceededError, or the caller's cancellation.
    """

    error: BaseException


#: Which class the hooks of a name are given.
KINDS: dict[EventName, type[Event]] = {
    "waited": Waited,
    "started": Started,
    "settled": Settled,
    "refused": Refused,
    "failed": Failed,
}
