"""What all gates of one keeper share, without the keeper.

Owns the list of this process's desks, by which an unpickled gate finds its keeper again. May not import gate,
call or keeper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import urandom
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from ._core import RetryBudget
from .errors import ConfigError
from .given_up import GivenUp

if TYPE_CHECKING:
    from ._core import Estimator, Quota, RateLimiter, RetryPolicy
    from .budgets.till import Till
    from .hooks import Hooks
    from .keeper import Keeper
    from .notices import Notices
    from .providers.base import Provider, Request


class Lane:
    """One scope with its limiter.

    Attributes:
        scope: Whose quota, as ``provider/account/group``.
        limiter: The scope's limiter; without a quota, one that limits nothing.
        setting: The pattern whose quota is in force; None for the default quota, or for none.
        quotas: Gives the quotas that a call of a tenant must fit.
        pending_since: When the first call came after the last one had started (monotonic seconds).
        budget: Pays for retries.
        given_up: What no framework's own retries start again.
        last_error: What the last failed call failed with, and when (monotonic seconds).
    """

    __slots__ = (
        "budget", "given_up", "last_error", "limiter", "pending_since", "quotas", "scope", "setting",
    )  # fmt: skip

    def __init__(
        self,
        scope: str,
        limiter: RateLimiter,
        *,
        setting: str | None,
        quotas: Callable[[str], Iterator[Quota]],
        budget: RetryBudget | None = None,
    ) -> None:
        self.scope = scope
        self.limiter = limiter
        self.setting = setting
        self.quotas = quotas
        self.pending_since: float | None = None
        self.budget = budget or RetryBudget()
        self.given_up = GivenUp()
        self.last_error: tuple[Exception, float] | None = None


class KeeperId(NamedTuple):
    """How a pickled gate names its keeper.

    Attributes:
        name: The name its user gave it, the same in every process.
        ident: Random digits of this very keeper, shared with forked children only.
    """

    name: str
    ident: str


class Desk:
    """Estimator, hooks, notices and lanes of one keeper.

    Attributes:
        keeper: The keeper's name and identity.
        owner: The keeper itself.
        lane: Finds the lane of (provider, account, model).
        estimator: Learns from every settled call.
        hooks: Told of all that happens.
        notices: Writes the log lines.
        count: The user's own counting function, if any.
        retry: When failed calls are tried again; None for never.
        till: What calls are booked with.
    """

    def __init__(
        self,
        *,
        name: str,
        owner: Keeper,
        lane: Callable[[Provider, str, str], Lane],
        estimator: Estimator,
        hooks: Hooks,
        notices: Notices,
        count: Callable[[Request], int] | None,
        retry: RetryPolicy | None,
        till: Till,
    ) -> None:
        self.keeper = KeeperId(name, urandom(8).hex())
        self.owner = owner
        self.lane = lane
        self.estimator = estimator
        self.hooks = hooks
        self.notices = notices
        self.count = count
        self.retry = retry
        self.till = till
        _desks[self.keeper] = self


_desks: WeakValueDictionary[KeeperId, Desk] = WeakValueDictionary()


def find_desk(keeper: KeeperId) -> Desk:
    """The desk of that very keeper, or of the one keeper of its name in this process.

    Raises:
        ConfigError: No keeper, or more than one, has that name.
    """
    same = _desks.get(keeper)
    if same is not None:
        return same
    # valuerefs() copies in one step: another thread may be making a keeper.
    desks = [reference() for reference in _desks.valuerefs()]
    found = [desk for desk in desks if desk is not None and desk.keeper.name == keeper.name]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} Keepers share that name" if found else "no Keeper has that name"
    raise ConfigError(
        f"this object was wrapped by the Keeper named {keeper.name!r} and loaded here, where {what}; "
        f"create exactly one with Keeper(..., name={keeper.name!r}) before the first call",
        field="name",
    )
