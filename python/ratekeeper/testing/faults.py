"""Which fault a request meets.

Owns the counting and the chances of faults. May not read a clock or send anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ratekeeper.testing.settings import Fault


@dataclass
class _Plan:
    fault: Fault
    rng: random.Random
    seen: int = 0
    done: int = 0

    def strikes(self, model: str, elapsed: float) -> bool:
        fault = self.fault
        if elapsed < fault.after or (fault.until is not None and elapsed >= fault.until):
            return False
        if not fnmatchcase(model, fault.model) or (fault.times is not None and self.done >= fault.times):
            return False
        self.seen += 1
        if self.seen % fault.every or (fault.probability < 1 and self.rng.random() >= fault.probability):
            return False
        self.done += 1
        return True


class FaultPlan:
    """All faults of one provider, each with a sequence of chances of its own."""

    def __init__(self, faults: Iterable[Fault], seed: int) -> None:
        self._seed = seed
        self._plans: list[_Plan] = []
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Forget all faults and take these."""
        self._plans = [_Plan(fault, random.Random(f"{self._seed}:{n}")) for n, fault in enumerate(faults)]

    def next(self, model: str, elapsed: float) -> Fault | None:
        """The first fault that strikes a request for a model, ``elapsed`` seconds after the start."""
        return next((plan.fault for plan in self._plans if plan.strikes(model, elapsed)), None)
