"""What is tried: loads, quotas and what goes wrong, with what is asked of ratekeeper. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ratekeeper.testing import Fault, QuotaChange

from ..provider.scenarios import AT_ONCE, LATENCY, Scenario, mixed, prompts, requests_bound, tokens_bound
from .callers import CONTENDERS, OURS, Told
from .loop import Load

_PLENTY = 10_000_000
#: Seconds beyond half as long again as the ideal after which calls still running are given up.
_PATIENCE = 8.0
#: Seconds named by the one refusal of the trials of kind "gap".
GAP = 1.0
#: The retry budget's: what it holds, what a retry after a failure costs, seconds in which one comes back.
_BUDGET, _COST, _REFILL = 100, 14, 10.0


@dataclass(frozen=True)
class Trial:
    """One load under one quota, and what goes wrong in it.

    Attributes:
        name: By which it is chosen.
        load: Prompts and quota.
        settings: What else the provider does.
        told: How much of the true quota ratekeeper is told; None for nothing at all.
        share: The least share of the ideal that is asked; None for a trial that informs only.
        refused: The most 429s that are asked, as a share of the calls, beyond those injected.
        kind: What is looked at.
        lasts: Seconds in which calls are begun; None where each prompt is called once.
        outage: From when until when, in seconds.
        contenders: Who takes part.
    """

    name: str
    load: Scenario
    settings: dict[str, Any] = field(default_factory=dict)
    told: float | None = 1.0
    share: float | None = None
    refused: float = 0.01
    kind: Literal["quota", "gap", "outage"] = "quota"
    lasts: float | None = None
    outage: tuple[float, float] = (0.0, 0.0)
    contenders: tuple[str, ...] = tuple(CONTENDERS)

    def ideal(self) -> float:
        """Seconds in which the quota, with its changes, lets all calls be answered at best.

        What faults cost is not taken off.
        """
        load, changes = self.load, self.settings.get("changes", ())
        requests = _seconds(
            len(load.prompts), load.rpm, load.window, [(c.at, c.rpm) for c in changes if c.rpm]
        )
        tokens = _seconds(load.total(), load.tpm, load.window, [(c.at, c.tpm) for c in changes if c.tpm])
        return max(requests, tokens) + LATENCY

    def quota_told(self) -> Told | None:
        """The quota in ratekeeper's ears."""
        if self.told is None:
            return None
        load = self.load
        return Told(rpm=load.rpm * self.told, tpm=load.tpm * self.told, window=load.window)

    def calls(self) -> Load:
        """What the child is to call."""
        return Load(
            lengths=[len(prompt) for prompt in self.load.prompts],
            at_once=AT_ONCE,
            lasts=self.lasts,
            cut=_PATIENCE + (self.lasts or 1.5 * self.ideal()),
            think=0.5,
        )

    def retries_allowed(self) -> int:
        """What the retry budget lets through in the outage.

        Calls that were on their way when it began still succeed, and each earns the budget 1; an empty budget lends at
        once, and then again as it refills.
        """
        after, until = self.outage
        return (_BUDGET + AT_ONCE) // _COST + 1 + int((until - after) / _REFILL)


def _seconds(amount: float, limit: float, window: float, changes: list[tuple[float, float]]) -> float:
    """When the amounts of all calls fit into a bucket that starts full and whose rate changes.

    A cut takes nothing from the ideal: its bucket is empty by then.
    """
    left, rate, now = amount - limit, limit / window, 0.0
    for at, cut in changes:
        granted = rate * (at - now)
        if left <= granted:
            break
        left, rate, now = left - granted, cut / window, at
    return now + max(left, 0.0) / rate


def _faults() -> list[Fault]:
    """2 % of the requests meet one of these."""
    return [
        Fault(kind="server_error", probability=0.008),
        Fault(kind="overloaded", probability=0.003),
        Fault(kind="unavailable", probability=0.003),
        Fault(kind="rate_limit", probability=0.006, retry_after=0.5),
    ]


def _known(quick: bool) -> list[Trial]:
    return [
        Trial("known: RPM-bound", requests_bound(quick), share=0.97),
        Trial("known: TPM-bound", tokens_bound(quick), share=0.97),
    ]


def _faulty(quick: bool) -> list[Trial]:
    return [Trial("known: mixed, 2% faults", mixed(quick), {"faults": _faults()}, share=0.96)]


def _halved(quick: bool) -> list[Trial]:
    requests, tokens = requests_bound(quick), tokens_bound(quick)
    at = requests.window
    cuts = (QuotaChange(at=at, rpm=requests.rpm / 2), QuotaChange(at=at, tpm=tokens.tpm / 2))
    return [
        Trial("halved: RPM", requests, {"changes": [cuts[0]]}, share=0.97, refused=0.04),
        Trial("halved: TPM", tokens, {"changes": [cuts[1]]}, share=0.97, refused=0.04),
    ]


def _charged(quick: bool) -> list[Trial]:
    right = Trial(
        "charged: refusals cost quota", requests_bound(quick), {"charge_refusals": True}, share=0.97
    )
    wrong = replace(right, name="charged: and told 1.5 times the quota", told=1.5, share=None)
    return [right, replace(wrong, contenders=(OURS,))]


def _unconfigured(quick: bool) -> list[Trial]:
    """A true minute, since a keeper takes the periods of headers for what they are."""
    calls, rpm = (120, 100) if quick else (900, 600)
    load = Scenario(prompts(calls, 1_200, 0.5), rpm, _PLENTY, 60.0)
    return [
        Trial("unconfigured: headers", load, told=None, share=0.95),
        Trial("unconfigured: no headers", load, {"headers": False}, told=None, share=0.85, refused=0.05),
    ]


def _gap(quick: bool) -> list[Trial]:
    """Refused for a second: first when all callers send at once, then when their calls are spread out."""
    one = Fault(kind="rate_limit", retry_after=GAP, until=GAP)
    later = replace(one, after=1.5, until=1.5 + GAP)
    load = Scenario(prompts(150 if quick else 250, 1_200, 0.5), _PLENTY, _PLENTY, 60.0)
    spread = {"latency": 1.0, "latency_jitter": 0.5}
    return [
        Trial("gap: the first 50 are refused", load, {"faults": [one]}, kind="gap"),
        Trial("gap: one is refused among 50", load, {"faults": [later], **spread}, kind="gap"),
    ]


def _outage(quick: bool) -> list[Trial]:
    """No quota binds; 50 callers at a second each are 50 calls a second."""
    after, until = (4.0, 10.0) if quick else (5.0, 35.0)
    load = Scenario(prompts(200, 1_200, 0.5), _PLENTY, _PLENTY, 60.0)
    down = Fault(kind="unavailable", after=after, until=until)
    settings = {"faults": [down], "latency": 1.0, "latency_jitter": 0.2}
    return [Trial("outage", load, settings, kind="outage", lasts=until + 6.5, outage=(after, until))]


#: What a quick run leaves out unless it is named: these trials differ little from another.
SLOW = (
    "known: RPM-bound",
    "known: TPM-bound",
    "halved: TPM",
    "charged: and told 1.5 times the quota",
    "unconfigured: headers",
    "gap: the first 50 are refused",
)

_Make = Callable[[bool], list[Trial]]
#: Trials of one entry run together; in a quick run, whose figures say little, of two entries.
_TOGETHER: tuple[tuple[_Make, ...], ...] = (
    (_known,),
    (_faulty, _charged),
    (_halved,),
    (_unconfigured,),
    (_gap,),
    (_outage,),
)
_QUICKLY_TOGETHER: tuple[tuple[_Make, ...], ...] = (
    (_known, _faulty, _charged, _halved),
    (_unconfigured, _gap, _outage),
)


def groups(quick: bool) -> list[list[Trial]]:
    """All trials, in groups that may run at the same time."""
    together = _QUICKLY_TOGETHER if quick else _TOGETHER
    return [[trial for make in makes for trial in make(quick)] for makes in together]
