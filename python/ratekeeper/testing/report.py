"""What the fake provider saw: requests, tokens, concurrency, a timeline.

Owns the counting and the report's types. An API key never comes here: only its fingerprint. May not read a
clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Literal

from ratekeeper.testing.usage import Usage

Outcome = Literal["running", "answered", "refused", "failed", "cut", "disconnected"]
_DISCONNECTED = 499


def fingerprint(api_key: str) -> str:
    """What stands for an API key in reports: a keyed hash, the same in every process."""
    return blake2b(api_key.encode(), key=b"ratekeeper.testing", digest_size=8).hexdigest()


@dataclass
class Entry:
    """One request on the timeline.

    Attributes:
        at: Monotonic seconds (``time.monotonic`` of the same machine) of its arrival.
        ended: Likewise, of the moment before its last byte; None while it runs.
        key: The API key's fingerprint.
        model: The model, or the Azure deployment.
        api: ``openai.chat``, ``openai.responses``, ``openai.embeddings``, ``anthropic.messages``,
            ``gemini.generate``, ``gemini.embed`` or ``bedrock.converse``.
        stream: Whether it was answered in events.
        status: The HTTP status; 499 where the client left, 0 while it runs.
        outcome: ``answered``, ``refused`` (a 4xx), ``failed`` (a 5xx), ``cut`` by a fault, ``disconnected``
            by the client, or ``running``.
        attempt: The SDK's own attempt, from 1, as told by ``x-stainless-retry-count`` or ``amz-sdk-request``.
        admitted: Tokens charged to the quota at the start.
        retry_after: Seconds after which a refused request would have been let in, or that a fault named; whether
            or not ``headers`` and ``hints`` let the client know. None where no wait was known.
        input: Input tokens reported, the cached ones included.
        output: Output tokens sent.
        cached: Input tokens reported as read from the cache.
        reasoning: Output tokens reported as reasoning.
    """

    at: float
    key: str
    model: str
    api: str
    stream: bool = False
    ended: float | None = None
    status: int = 0
    outcome: Outcome = "running"
    attempt: int = 1
    admitted: float = 0
    retry_after: float | None = None
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass
class ScopeReport:
    """The sums of one key and model, tokens as in ``Entry``; ``statuses`` counts requests by status."""

    key: str
    model: str
    requests: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    admitted: float = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    in_flight: int = 0
    peak_concurrency: int = 0


@dataclass
class Report:
    """What was seen since the start, or the last reset.

    Attributes:
        started: Monotonic seconds of the start or the reset.
        now: Monotonic seconds of the report.
        requests: Requests of models; those for the model list or this report are not counted.
        statuses: Requests by HTTP status.
        retries: Requests that were an SDK's own second or later attempt.
        disconnects: Requests whose client left before the end.
        in_flight: Requests being answered now.
        peak_concurrency: The most that were answered at once.
        scopes: By key and model.
        timeline: Every request in order of arrival, the youngest ``timeline_limit``.
    """

    started: float
    now: float
    requests: int
    statuses: dict[int, int]
    retries: int
    disconnects: int
    in_flight: int
    peak_concurrency: int
    scopes: list[ScopeReport]
    timeline: list[Entry]

    @property
    def answered(self) -> int:
        """Requests answered with status 200 to the end."""
        return self.statuses.get(200, 0)

    @property
    def refused(self) -> int:
        """Requests answered with status 429."""
        return self.statuses.get(429, 0)

    @property
    def input_tokens(self) -> int:
        """Input tokens of all scopes."""
        return sum(scope.input for scope in self.scopes)

    @property
    def output_tokens(self) -> int:
        """Output tokens of all scopes."""
        return sum(scope.output for scope in self.scopes)

    @property
    def admitted_tokens(self) -> float:
        """Tokens charged at the start, of all scopes."""
        return sum(scope.admitted for scope in self.scopes)

    def arrivals(self, model: str = "*", *, status: int | None = None) -> list[float]:
        """When requests came, in order, in seconds after the start (or the last reset).

        Args:
            model: Of which models or deployments; a shell pattern.
            status: Only those answered with this status; None for all.
        """
        return [
            entry.at - self.started
            for entry in self.timeline
            if fnmatchcase(entry.model, model) and status in (None, entry.status)
        ]

    def gaps(self, model: str = "*", *, status: int | None = None) -> list[float]:
        """Seconds between each of those requests and the next: one fewer than there are ``arrivals``."""
        at = self.arrivals(model, status=status)
        return [later - earlier for earlier, later in pairwise(at)]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Report:
        """A report from its JSON form, whose object keys are strings."""
        scopes = [ScopeReport(**{**s, "statuses": _statuses(s["statuses"])}) for s in raw["scopes"]]
        timeline = [Entry(**entry) for entry in raw["timeline"]]
        return cls(**{**raw, "statuses": _statuses(raw["statuses"]), "scopes": scopes, "timeline": timeline})


def _statuses(raw: Mapping[str, int]) -> dict[int, int]:
    return {int(status): count for status, count in raw.items()}


class Recorder:
    """Counts one provider's requests as they come and go."""

    def __init__(self, started: float, timeline_limit: int) -> None:
        self.started = started
        self.in_flight = 0
        self._peak = 0
        self._requests = self._retries = self._disconnects = 0
        self._scopes: dict[tuple[str, str], ScopeReport] = {}
        self._timeline: deque[Entry] = deque(maxlen=timeline_limit)

    def arrive(self, entry: Entry) -> None:
        """A request has come; it is not in flight before ``begin``."""
        self._requests += 1
        self._retries += entry.attempt > 1
        self._scope(entry).requests += 1
        self._timeline.append(entry)

    def begin(self, entry: Entry) -> None:
        """It was admitted and is being answered."""
        scope = self._scope(entry)
        scope.admitted += entry.admitted
        self.in_flight += 1
        scope.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        scope.peak_concurrency = max(scope.peak_concurrency, scope.in_flight)

    def finish(self, entry: Entry) -> None:
        """It is no longer in flight."""
        self.in_flight -= 1
        self._scope(entry).in_flight -= 1

    def leave(self, entry: Entry, status: int, outcome: Outcome, now: float) -> None:
        """It ends, with what was sent so far."""
        entry.ended, entry.outcome = now, outcome
        entry.status = _DISCONNECTED if outcome == "disconnected" else status
        self._disconnects += outcome == "disconnected"
        scope = self._scope(entry)
        scope.statuses[entry.status] = scope.statuses.get(entry.status, 0) + 1
        scope.input += entry.input
        scope.output += entry.output
        scope.cached += entry.cached
        scope.reasoning += entry.reasoning

    def report(self, now: float) -> dict[str, Any]:
        """The report as JSON values, with ``Report``'s fields."""
        statuses: Counter[int] = Counter()
        for scope in self._scopes.values():
            statuses.update(scope.statuses)
        return {
            "started": self.started,
            "now": now,
            "requests": self._requests,
            "statuses": dict(statuses),
            "retries": self._retries,
            "disconnects": self._disconnects,
            "in_flight": self.in_flight,
            "peak_concurrency": self._peak,
            "scopes": [asdict(scope) for scope in self._scopes.values()],
            "timeline": [vars(entry) for entry in self._timeline],
        }

    def _scope(self, entry: Entry) -> ScopeReport:
        found = self._scopes.get((entry.key, entry.model))
        if found is None:
            found = self._scopes[entry.key, entry.model] = ScopeReport(entry.key, entry.model)
        return found


def fill(entry: Entry, usage: Usage, sent: int) -> None:
    """Write what an answer used into its entry; ``sent`` are the output tokens that went out."""
    entry.input, entry.output = usage.input, sent
    entry.cached, entry.reasoning = usage.cached, usage.reasoning
