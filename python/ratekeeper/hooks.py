"""All that happens to calls, told to whoever listens: metrics, reports.

Owns the delivery of events. May not decide anything: a hook that raises never breaks a call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .events import Event, Failed, Refused, Settled, Started, Waited

_log = logging.getLogger("ratekeeper")

EventName = Literal["waited", "started", "settled", "refused", "failed"]
EVENTS: tuple[EventName, ...] = ("waited", "started", "settled", "refused", "failed")


class Hook:
    """Base of hooks: override what you need.

    Methods are plain functions. They run on the thread or event loop of the call, in the middle of it: they
    should only count or enqueue. One that raises is logged once, with its traceback, and the call goes on.
    """

    def waited(self, event: Waited) -> None:
        """A call waited and now has its lease."""

    def started(self, event: Started) -> None:
        """A call goes out."""

    def settled(self, event: Settled) -> None:
        """A call ended without an error."""

    def refused(self, event: Refused) -> None:
        """A call never started."""

    def failed(self, event: Failed) -> None:
        """A call ended with an error."""


class Hooks:
    """Several hooks as one; an event that nobody listens to is not made.

    Attributes:
        waited, started, settled, refused, failed: The listeners of each event; empty if there are none.
    """

    __slots__ = ("_complained", "failed", "refused", "settled", "started", "waited")

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        hooks = tuple(hooks)
        self._complained: set[int] = set()
        self.waited = _listeners(hooks, "waited")
        self.started = _listeners(hooks, "started")
        self.settled = _listeners(hooks, "settled")
        self.refused = _listeners(hooks, "refused")
        self.failed = _listeners(hooks, "failed")

    def emit(self, name: EventName, event: Event) -> None:
        """Tells the listeners of `name`, in the order in which the hooks were given."""
        for listener in getattr(self, name):
            self._tell(listener, event)

    def _tell(self, listener: Callable[[Any], None], event: Event) -> None:
        try:
            listener(event)
        except Exception:  # noqa: BLE001 (whatever a hook does, the call goes on)
            if id(listener) not in self._complained:
                self._complained.add(id(listener))
                _log.exception("the hook %r raised; calls go on, and it is not reported again", listener)


def _listeners(hooks: tuple[Hook, ...], name: EventName) -> tuple[Callable[[Any], None], ...]:
    """The bound methods that do something: those that `Hook` itself leaves empty are left out."""
    empty = getattr(Hook, name)
    methods = [getattr(hook, name, None) for hook in hooks]
    return tuple(
        method for method in methods if method is not None and getattr(method, "__func__", None) is not empty
    )
