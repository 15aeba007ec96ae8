"""What is called, and under which quota. Values only."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import ratekeeper as rk

LATENCY = 0.25
MAX_TOKENS = 200
AT_ONCE = 50
#: Calls, and the seconds in which the provider grants its "per minute" amounts.
_CALLS, _WINDOW = 900, 15.0
_QUICK_CALLS, _QUICK_WINDOW = 120, 2.0
#: What does not bind.
_PLENTY = 10_000_000


@dataclass(frozen=True)
class Scenario:
    """So many prompts under one quota.

    Attributes:
        prompts: Their texts.
        rpm: Requests a window; also the burst.
        tpm: Tokens a window; also the burst.
        window: Seconds in which these are granted.
    """

    prompts: list[str]
    rpm: int
    tpm: int
    window: float

    def tokens(self, prompt: str) -> int:
        """What OpenAI counts for a call: the greater of max_tokens and a quarter of the characters."""
        return max(MAX_TOKENS, math.ceil(len(prompt) / 4))

    def total(self) -> int:
        """What it counts for all calls."""
        return sum(map(self.tokens, self.prompts))

    def ideal(self) -> float:
        """Seconds in which the quota lets all calls be answered at best; see the package."""
        asked = ((len(self.prompts), self.rpm), (self.total(), self.tpm))
        return max((amount - limit) / (limit / self.window) for amount, limit in asked) + LATENCY

    def quota(self) -> rk.Quota:
        """The quota in ratekeeper's words."""
        requests, tokens = (
            rk.Limit("requests", self.rpm, self.window),
            rk.Limit("tokens", self.tpm, self.window),
        )
        return rk.Quota(requests, tokens)

    def describe(self) -> str:
        """In one line."""
        calls, tokens = len(self.prompts), self.total()
        return f"{calls} calls, {tokens:,} tokens; {self.rpm:,} and {self.tpm:,} in {self.window:g} s"


def prompts(count: int, median_chars: int, spread: float) -> list[str]:
    """Prompts of realistic lengths (log-normal), the same in every process."""
    dice = random.Random(count + median_chars)
    lengths = (min(40_000, round(median_chars * math.exp(dice.gauss(0, spread)))) for _ in range(count))
    words = "the quota refills while a call waits its turn and every answer is counted once "
    return [(words * (length // len(words) + 1))[:length] for length in lengths]


def _scenario(quick: bool, median_chars: int, spread: float, *, binds: set[str]) -> Scenario:
    """A limit that binds lets a third of the total start at once, and the rest in two windows."""
    texts = prompts(_QUICK_CALLS if quick else _CALLS, median_chars, spread)
    unlimited = Scenario(texts, _PLENTY, _PLENTY, _QUICK_WINDOW if quick else _WINDOW)
    rpm = len(texts) // 3 if "requests" in binds else _PLENTY
    tpm = unlimited.total() // 3 if "tokens" in binds else _PLENTY
    return replace(unlimited, rpm=rpm, tpm=tpm)


def requests_bound(quick: bool) -> Scenario:
    """Many short calls."""
    return _scenario(quick, 1_200, 0.5, binds={"requests"})


def tokens_bound(quick: bool) -> Scenario:
    """Long prompts of different lengths."""
    return _scenario(quick, 2_400, 0.8, binds={"tokens"})


def mixed(quick: bool) -> Scenario:
    """Both bind: among long prompts tokens run short, among short ones requests."""
    return _scenario(quick, 2_400, 1.2, binds={"requests", "tokens"})


SCENARIOS: dict[str, Callable[[bool], Scenario]] = {
    "RPM-bound": requests_bound,
    "TPM-bound": tokens_bound,
    "mixed": mixed,
}
