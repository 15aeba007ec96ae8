"""The state of one fake provider: quotas, faults, script, record.

Owns them together with the clock, and what a reset means. May not speak HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from ratekeeper.testing.answers import Script
from ratekeeper.testing.book import QuotaBook
from ratekeeper.testing.faults import FaultPlan
from ratekeeper.testing.report import Recorder
from ratekeeper.testing.settings import Settings


class State:
    """Everything that requests share.

    Args:
        settings: What to do.
        clock: Monotonic seconds.
    """

    quotas: QuotaBook
    faults: FaultPlan
    script: Script
    recorder: Recorder

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.clock = clock
        self._idents = count(1)
        self.reset()

    def reset(self) -> None:
        """Start anew: full quotas, the settings' own faults and replies, an empty record, time 0.

        Requests still running end on the books they started on.
        """
        self.started = self.clock()
        self.quotas = QuotaBook(self.settings, self.started)
        self.faults = FaultPlan(self.settings.faults, self.settings.seed)
        self.script = Script(self.settings.replies)
        self.recorder = Recorder(self.started, self.settings.timeline_limit)

    def next_ident(self) -> int:
        """A number for the next request."""
        return next(self._idents)
