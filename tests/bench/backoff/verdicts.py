"""Outcomes in words, and ours against what was promised.

Owns what is asked and how it is counted. Measures nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ratekeeper.testing.faults import FaultPlan

from ..figures import Figure, at_least, at_most
from .callers import OURS
from .race import SEED, Outcome
from .trials import GAP, Trial

_FULL_SPEED = 0.95
#: Seconds after the end of an outage in which speed is looked at, and as many before it.
_RECOVERED, _LOOK = 3.0, 3.0
#: Seconds in which an answer reaches a client that is busy.
_READ = 0.1


def head(trial: Trial) -> Figure:
    """What is tried."""
    if trial.kind == "quota":
        return Figure(f"{trial.name}: {trial.load.describe()}", f"ideal {trial.ideal():.1f} s")
    if trial.kind == "gap":
        return Figure(f"{trial.name}: {len(trial.load.prompts)} calls, Retry-After {GAP:g} s", "")
    after, until = trial.outage
    return Figure(f"{trial.name}: every answer 503 from {after:g} to {until:g} s, then as before", "")


def lines(who: str, outcome: Outcome) -> Iterator[Figure]:
    """One contender's."""
    promises, words = _KINDS[outcome.trial.kind]
    if who == OURS:
        yield from promises(outcome)
    yield Figure(f"  {who}", words(outcome))


def machine(outcomes: dict[str, Outcome]) -> Figure:
    """Whether the clients disturbed one another."""
    called = {who: outcome.called for who, outcome in outcomes.items()}
    began = min(one["began"] for one in called.values())
    ended = max(one["began"] + one["seconds"] for one in called.values())
    cores = sum(one["cpu"] for one in called.values()) / (ended - began)
    late = max(one["late"] for one in called.values()) * 1e3
    ours = max((one["late"] for who, one in called.items() if who.startswith(OURS)), default=0.0) * 1e3
    timers = f"p99 of a timer's lateness <= {late:.0f} ms, ours <= {ours:.0f} ms"
    return Figure(f"  {len(called)} clients at a time", f"{cores:.2f} cores; {timers}")


def _injected(outcome: Outcome) -> int:
    """429s that were no quota's: the plan is drawn from a seed, once a request."""
    plan = FaultPlan(outcome.trial.settings.get("faults", ()), SEED)
    drawn = (plan.next("", 0.0) for _ in range(outcome.seen.requests))
    return sum(fault is not None and fault.kind == "rate_limit" for fault in drawn)


def _quota_promises(outcome: Outcome) -> Iterator[Figure]:
    trial = outcome.trial
    if trial.share is None:
        return
    refused = (outcome.seen.refused - _injected(outcome)) / outcome.asked
    yield at_least("  ratekeeper: share of the ideal", outcome.share, trial.share, "{:.3f}")
    yield at_most("  ratekeeper: failed", outcome.asked - outcome.answered, 0, "{:d}")
    yield at_most("  ratekeeper: 429s of the quota, of the calls", refused, trial.refused, "{:.2%}")


def _quota_words(outcome: Outcome) -> str:
    injected = _injected(outcome)
    own = f", {injected} injected" if injected else ""
    refused = f"{outcome.seen.refused:,} 429s ({outcome.seen.refused / outcome.asked:.1%}{own})"
    what = f"{outcome.share:.3f}" if outcome.share else _shortfall(outcome)
    return f"{what}; {refused}; {outcome.seen.requests:,} requests; {outcome.called['seconds']:.1f} s"


def _shortfall(outcome: Outcome) -> str:
    errors = ", ".join(f"{count} {name}" for name, count in outcome.called["errors"].items())
    given_up = outcome.asked - outcome.answered - outcome.failed
    parts = [f"{outcome.failed} failed ({errors})"] if outcome.failed else []
    return ", ".join([*parts, *([f"{given_up} unanswered"] if given_up else [])])


def _gap(outcome: Outcome) -> tuple[int, int, float] | None:
    """Of the gap after the first refusal: arrivals in it, those not yet under way, seconds to the first after it.

    Under way is a call that had begun when the refusal could be known and had not arrived. None where no call met
    the fault.
    """
    entries = outcome.seen.timeline
    told = next((entry.ended for entry in entries if entry.status == 429), None)
    if told is None:
        return None
    arrivals = sorted(entry.at for entry in entries)
    begins = sorted(begin for begin, _, _ in outcome.called["calls"])
    before = bisect_right(arrivals, told)
    inside = bisect_left(arrivals, told + GAP) - before
    under_way = max(0, bisect_right(begins, told + _READ) - before)
    later = [at for at in arrivals if at >= told + GAP]
    return inside, max(0, inside - under_way), (later[0] - told if later else float("inf"))


def _gap_promises(outcome: Outcome) -> Iterator[Figure]:
    gap = _gap(outcome)
    yield at_most("  ratekeeper: failed", outcome.asked - outcome.answered, 0, "{:d}")
    yield at_most(
        "  ratekeeper: requests beyond calls and 429s", outcome.retries - outcome.seen.refused, 0, "{:d}"
    )
    if gap is not None:
        yield at_most("  ratekeeper: requests in the gap, of calls not in flight", gap[1], 0, "{:d}")


def _gap_words(outcome: Outcome) -> str:
    failed = outcome.asked - outcome.answered
    counts = f"{outcome.seen.requests} requests, {outcome.seen.refused} 429s, {failed} failed"
    counts += f", {outcome.called['seconds']:.1f} s"
    gap = _gap(outcome)
    if gap is None:
        return f"{counts}; nothing was refused"
    inside, beyond, first = gap
    return f"{counts}; {inside} arrivals in the gap, {beyond} not in flight before; next after {first:.2f} s"


def _in_outage(outcome: Outcome) -> tuple[int, int]:
    """Requests that arrived in the outage, and calls begun in it."""
    after, until = (outcome.seen.started + at for at in outcome.trial.outage)
    requests = sum(after <= entry.at < until for entry in outcome.seen.timeline)
    return requests, sum(after <= begin < until for begin, _, _ in outcome.called["calls"])


def _speed(outcome: Outcome) -> float:
    """Answers a second from 3 to 6 seconds after the outage, as a share of those before it."""
    after, until = (outcome.seen.started + at for at in outcome.trial.outage)
    ends = [end for _, end, ok in outcome.called["calls"] if ok]
    before = sum(after - _LOOK <= end < after for end in ends)
    recovered = sum(until + _RECOVERED <= end < until + _RECOVERED + _LOOK for end in ends)
    return recovered / before


def _outage_promises(outcome: Outcome) -> Iterator[Figure]:
    allowed = outcome.trial.retries_allowed()
    yield at_most("  ratekeeper: retries, against the budget", outcome.retries, allowed, "{:d}")
    yield at_least(
        "  ratekeeper: speed 3 to 6 s after, of that before", _speed(outcome), _FULL_SPEED, "{:.2f}"
    )


def _outage_words(outcome: Outcome) -> str:
    requests, begun = _in_outage(outcome)
    during = f"{requests:,} requests in the outage, {begun:,} calls begun in it"
    whole = f"{outcome.retries:,} retries, {outcome.failed:,} failed, {outcome.called['running']} hung"
    return f"{during}; {whole}; speed after {_speed(outcome):.2f}"


_KINDS = {
    "quota": (_quota_promises, _quota_words),
    "gap": (_gap_promises, _gap_words),
    "outage": (_outage_promises, _outage_words),
}
