"""Lines for the log: quiet unless something waits long or goes wrong.

Owns the wording and the rate of log lines. May not decide anything about a call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .desk import Lane
    from .status import LimitStatus, Status

_log = logging.getLogger("ratekeeper")
_SECONDS_BETWEEN_LINES = 60.0


class Notices:
    """The log lines of one keeper, at most one of a kind per scope and minute.

    Attributes:
        slow_wait: Seconds from which a wait is worth a line.
    """

    def __init__(self, slow_wait: float, *, clock: Callable[[], float] = monotonic) -> None:
        self.slow_wait = slow_wait
        self._clock = clock
        self._written: dict[tuple[str, str], float] = {}

    def waited(self, lane: Lane, waited: float, model: str, tenant: str) -> None:
        """A call started after a long wait."""
        if self._due("waited", lane.scope):
            _log.warning(
                "a call of %s%s waited %.1f s for the quota %s: %s",
                model, f" for tenant {tenant}" if tenant else "",
                waited, lane.scope, _state(lane.limiter.status()),
            )  # fmt: skip

    def stuck(self, lane: Lane, now: float) -> None:
        """Nothing has started for long: says so if calls wait, and not if the last one gave up waiting."""
        status, since = lane.limiter.status(), lane.pending_since
        if not status["waiting"] or since is None:
            lane.pending_since = now
        elif self._due("stuck", lane.scope):
            _log.warning(
                "no call has started for %.0f s under the quota %s: %s",
                now - since, lane.scope, _state(status),
            )  # fmt: skip

    def expired(self, scope: str, model: str) -> None:
        """A call outlived its lease."""
        if self._due("expired", scope):
            _log.warning(
                "a call of %s outlived its lease under the quota %s: its permit was given to another call; "
                "raise Keeper(lease_ttl=...) above the longest call",
                model, scope,
            )  # fmt: skip

    def unknown(self, scope: str) -> None:
        """A scope has no quota."""
        _log.info(
            "no quota is set for %s: it starts with a few calls at once and goes by what the answers' headers tell; "
            'to begin at full speed, give the Keeper a default quota or quotas={"%s": Quota(...)}',
            scope, _pattern(scope),
        )  # fmt: skip

    def paused(self, lane: Lane, reason: str) -> None:
        """The provider has refused a call."""
        if self._due("paused", lane.scope):
            status = lane.limiter.status()
            _log.warning(
                "the provider refused a call under the quota %s: %s; nobody starts for %.1f s: %s",
                lane.scope, reason, status["paused_for"] or 0.0, _state(status),
            )  # fmt: skip

    def limits_changed(self, lane: Lane) -> None:
        """The provider told a limit that was not in force before."""
        if self._due("limits", lane.scope):
            limits = lane.limiter.status()["limits"]
            _log.info("the limits of %s are now: %s", lane.scope, ", ".join(map(_limit, limits)))

    def conflict(self, scope: str, model: str, ignored: str, used: str) -> None:
        """Two models of one scope match different quotas."""
        if not self._due(f"conflict of {model}", scope):
            return
        _log.warning(
            "%s shares the quota %s, for which %s is in force: the quota %s is ignored; "
            "name the group, not the model",
            model, scope, used, ignored,
        )  # fmt: skip

    def _due(self, kind: str, scope: str) -> bool:
        now = self._clock()
        last = self._written.get((kind, scope))
        if last is not None and now - last < _SECONDS_BETWEEN_LINES:
            return False
        self._written[kind, scope] = now
        return True


def _limit(limit: LimitStatus) -> str:
    told = f"{limit['limit']:,} {limit['dimension']} per {limit['per']:g} s ({limit['source']}"
    more = limit["configured"]
    return told + (f" instead of {more:,})" if more is not None and more != limit["limit"] else ")")


def _pattern(scope: str) -> str:
    """``provider/account/group`` without the account, as quota patterns are written."""
    provider, _, rest = scope.partition("/")
    return f"{provider}/{rest.partition('/')[2]}"


def _state(status: Status) -> str:
    """What an engineer wants to know next: how many wait, for what, and until when."""
    parts = [f"{status['waiting']} waiting", f"{status['in_flight']} in flight"]
    head = status["head"]
    if head is not None:
        until = "until a call ends" if head["ready_in"] is None else f"for another {head['ready_in']:.1f} s"
        parts.append(f"the next one waits for {head['dimension']} of {head['scope']} {until}")
    return ", ".join(parts)
