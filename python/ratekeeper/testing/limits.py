"""What a key may use of a model, how that changes, and what others use of it. Values only.

Owns their fields and their checks. May not hold state, read a clock or do I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from ratekeeper.testing.checks import number, one_of

Algorithm = Literal["token_bucket", "fixed_window", "sliding_window"]

#: The fields of ``Limits`` and ``QuotaChange`` that are limits.
AMOUNTS = ("rpm", "tpm", "itpm", "otpm", "concurrency", "rpd", "project_tpm")


@dataclass(kw_only=True)
class Limits:
    """What one API key may use of one model (or Azure deployment).

    Attributes:
        rpm: Requests per ``window``. None is no limit; 0 refuses everything.
        tpm: Tokens per ``window``, counted as the vendor counts them (see ``wire/openai.py``, ``azure.py``,
            ``anthropic.py``).
        itpm: Input tokens per ``window``, without those read from the cache.
        otpm: Output tokens per ``window``, counted as they are produced: a call starts while any are left.
        concurrency: Calls being answered at once.
        rpd: Requests per 1440 windows: a day, if a window is a minute. Groq's headers tell of it.
        project_tpm: A project's tokens per ``window``, counted like ``tpm`` and enforced beside it. OpenAI's
            headers tell of it.
        window: Seconds in which the amounts above are granted; 60 makes them what their names say. A test
            sets 1.0 to run a quota of N per second.
        algorithm: None takes what the vendor documents: a token bucket for OpenAI and Anthropic, a fixed
            window for Azure.
        burst: What a token bucket holds at most, as a share of the limit. 1.0 lets a whole window's amount
            start at once; 1/60 enforces 60 per minute as 1 per second, which Anthropic says may happen. A day's
            bucket always holds the day's amount.
        request_slices: Requests are checked over ``window / request_slices`` with a share of ``rpm``. Azure
            checks slices of 1 s or 10 s (60 or 6 of a minute).
        charge_refusals: A refused request counts as a request too, as OpenAI documents it ("unsuccessful
            requests contribute to your per-minute limit"). A bucket goes into debt, at most by one window's
            amount.
    """

    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None
    concurrency: int | None = None
    rpd: float | None = None
    project_tpm: float | None = None
    window: float = 60.0
    algorithm: Algorithm | None = None
    burst: float = 1.0
    request_slices: int = 1
    charge_refusals: bool = False

    def __post_init__(self) -> None:
        for name in AMOUNTS:
            number(name, getattr(self, name))
        number("window", self.window, above=True)
        number("burst", self.burst, above=True)
        number("request_slices", self.request_slices, least=1)
        if self.algorithm is not None:
            one_of("algorithm", self.algorithm, get_args(Algorithm))

    def changed_by(self, change: QuotaChange) -> Limits:
        """These limits after a change; what the change leaves None stays."""
        own = {f.name: getattr(self, f.name) for f in fields(Limits)}
        return Limits(**{**own, **change.amounts()})


@dataclass(kw_only=True)
class QuotaChange:
    """A cut or a raise of limits at a moment.

    Attributes:
        at: Seconds after the start, or after the last reset.
        model: Whose limits; a shell pattern over model or deployment names.
        rpm: The new limit, likewise all others. None leaves it.
    """

    at: float = 0.0
    model: str = "*"
    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None
    concurrency: int | None = None
    rpd: float | None = None
    project_tpm: float | None = None

    def __post_init__(self) -> None:
        for name in ("at", *self.amounts()):
            number(name, getattr(self, name))

    def amounts(self) -> dict[str, Any]:
        """The limits it sets."""
        named = {name: getattr(self, name) for name in AMOUNTS}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(kw_only=True)
class Use:
    """What somebody else used of a quota at one moment; whoever shares a key sees only what is left.

    Attributes:
        model: Of which model or deployment; a shell pattern.
        key: The fingerprint of the API key; None for every key.
        requests: How many requests.
        tokens: Tokens of ``tpm`` and ``project_tpm``.
        input_tokens: Tokens of ``itpm``.
        output_tokens: Tokens of ``otpm``.
    """

    model: str = "*"
    key: str | None = None
    requests: float = 0
    tokens: float = 0
    input_tokens: float = 0
    output_tokens: float = 0

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "input_tokens", "output_tokens"):
            number(name, getattr(self, name))

    def concerns(self, key: str, model: str) -> bool:
        """Whether it was used of the quota of this key and model."""
        return self.key in (None, key) and fnmatchcase(model, self.model)

    def amounts(self) -> dict[str, float]:
        """By what is counted."""
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "input": self.input_tokens,
            "output": self.output_tokens,
        }
