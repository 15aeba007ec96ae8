"""The contenders of some trials at the same time, each in a child of its own against a provider of its own.

Owns the processes. They are let go one after another: the opening bursts are bound by the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ratekeeper.testing import FakeProvider, Report

from ..child import Child
from ..provider.scenarios import LATENCY, MAX_TOKENS
from .callers import OURS, Target
from .elsewhere import UnavailableError, python_for
from .loop import Called
from .trials import Trial

#: Of the faults; the verdicts draw the same ones again.
SEED = 7


@dataclass(frozen=True)
class Outcome:
    """One contender in one trial.

    Attributes:
        trial: What was tried.
        called: The client's view.
        seen: The provider's.
    """

    trial: Trial
    called: Called
    seen: Report

    @cached_property
    def answered(self) -> int:
        """Calls that were answered."""
        return sum(ok for _, _, ok in self.called["calls"])

    @property
    def failed(self) -> int:
        """Calls whose error reached the caller."""
        return len(self.called["calls"]) - self.answered

    @property
    def begun(self) -> int:
        """Calls begun, ended or not."""
        return len(self.called["calls"]) + self.called["running"]

    @property
    def asked(self) -> int:
        """Calls there were to make."""
        return len(self.trial.load.prompts) if self.trial.lasts is None else self.begun

    @property
    def share(self) -> float:
        """Of the ideal; 0 unless every call was answered, since calls that fail are fast."""
        return self.trial.ideal() / self.called["seconds"] if self.answered == self.asked else 0.0

    @property
    def retries(self) -> int:
        """Requests beyond the first of each call."""
        return self.seen.requests - self.begun


class _Runner:
    """One contender's two processes."""

    def __init__(self, trial: Trial, contender: str, python: str) -> None:
        load = trial.load
        limits = {"rpm": load.rpm, "tpm": load.tpm, "window": load.window, "seed": SEED}
        self._trial = trial
        self._provider = FakeProvider.spawn(**{**limits, "latency": LATENCY, **trial.settings}).start()
        # A child calls once before it is ready: nothing may go wrong then.
        self._provider.set_faults()
        target = Target(
            url=self._provider.openai_url,
            max_tokens=MAX_TOKENS,
            told=trial.quota_told() if contender == OURS else None,
        )
        self._child = Child("backoff.loop:measure", contender, target, trial.calls(), python=python)

    def ready(self) -> None:
        self._child.ready()

    def go(self) -> None:
        """The provider's time starts with the client's."""
        self._provider.reset()
        self._child.go()

    def outcome(self) -> Outcome:
        called = self._child.result()
        return Outcome(self._trial, called, self._provider.report(timeline=self._trial.kind != "quota"))

    def stop(self) -> None:
        self._child.stop()
        self._provider.stop()


def race(
    trials: Sequence[Trial], contenders: Sequence[str], apart: float
) -> dict[tuple[str, str], Outcome | str]:
    """What came of every contender in every trial, or why it was skipped, by the names of both.

    Args:
        trials: Run at the same time.
        contenders: By name, in the order in which they are let go.
        apart: Seconds from one start to the next.
    """
    outcomes: dict[tuple[str, str], Outcome | str] = {}
    runners: dict[tuple[str, str], _Runner] = {}
    entries = [(t, c) for c in contenders for t in trials if c in t.contenders]
    try:
        for trial, contender in entries:
            _enter(trial, contender, runners, outcomes)
        for runner in runners.values():
            runner.ready()
        for n, runner in enumerate(runners.values()):
            time.sleep(apart if n else 0)
            runner.go()
        outcomes.update({names: runner.outcome() for names, runner in runners.items()})
    finally:
        for runner in runners.values():
            runner.stop()
    return outcomes


def _enter(
    trial: Trial,
    contender: str,
    runners: dict[tuple[str, str], _Runner],
    outcomes: dict[tuple[str, str], Outcome | str],
) -> None:
    try:
        runners[trial.name, contender] = _Runner(trial, contender, python_for(contender))
    except UnavailableError as error:
        outcomes[trial.name, contender] = str(error)
