"""What the demo calls: its prompts, and the time that its quota allows them at best.

Owns the work and its arithmetic. Makes no call, and reads no clock.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from pydoc_data.topics import topics
from typing import NamedTuple

#: The ceiling of each answer. With one, OpenAI counts the larger of it and a quarter of the characters.
MAX_TOKENS = 256
#: How the fake provider answers: seconds to the first token, seconds a token, median tokens.
LATENCY, TOKEN_LATENCY, OUTPUT_TOKENS = 0.35, 0.002, 80
#: What the second act's cut leaves of the quota.
KEPT = 0.5

_TASK = "Summarise this part of the Python manual in three sentences for an experienced programmer.\n\n"
_MEDIAN_CHARACTERS, _SPREAD = 2400, 0.6
_SHORTEST, _LONGEST = 400, 12_000
_WINDOW = 60.0
#: When the quota is cut, as a share of the time that the first act takes at best: the burst is gone by then, so the
#: cut takes none of it, and the bare run is still going.
_CUT_AFTER = 0.2


class Bound(NamedTuple):
    """How long one dimension takes at least: it starts full, then gives `rate` a second, and less after a cut.

    Attributes:
        dimension: Its name.
        total: What all calls ask of it.
        burst: What it holds at the start.
        rate: What it gives back, per second.
        cut_at: Seconds after which it gives no more than `KEPT` of that.
    """

    dimension: str
    total: int
    burst: int
    rate: float
    cut_at: float = math.inf

    @property
    def seconds(self) -> float:
        """From the first call's start to the last one's."""
        uncut = max(0.0, (self.total - self.burst) / self.rate)
        return uncut if uncut <= self.cut_at else self.cut_at + (uncut - self.cut_at) / KEPT


class Plan(NamedTuple):
    """The work of one run, the same for both.

    Attributes:
        prompts: What is asked, one call each.
        at_once: How many calls are in the air at a time.
        rpm: Requests a minute that the provider grants.
        tpm: Tokens a minute that the provider grants.
        cut_at: Seconds after which it grants no more than `KEPT` of both.
    """

    prompts: tuple[str, ...]
    at_once: int
    rpm: int
    tpm: int
    cut_at: float = math.inf

    @classmethod
    def of(cls, calls: int, at_once: int, rpm: int, tpm: int) -> Plan:
        """A plan of so many calls."""
        return cls(make_prompts(calls), at_once, rpm, tpm)

    def cut(self) -> Plan:
        """The same under a quota that is cut: as many of the calls as take no longer than all of them do now."""
        cut = self._replace(cut_at=round(self.ideal * _CUT_AFTER, 1))
        counts = range(1, len(self.prompts) + 1)
        fitting = bisect_right(counts, self.ideal, key=lambda count: cut._first(count).ideal)
        return cut._first(max(fitting, 1))

    def _first(self, count: int) -> Plan:
        return self._replace(prompts=self.prompts[:count])

    @property
    def is_cut(self) -> bool:
        """Whether the quota is cut in mid-run."""
        return self.cut_at < math.inf

    @property
    def one_call(self) -> float:
        """Seconds that the provider takes for one median answer."""
        return LATENCY + OUTPUT_TOKENS * TOKEN_LATENCY

    @property
    def tokens(self) -> int:
        """What the provider's quota will count, by OpenAI's rule: max(max_tokens, characters / 4) a call."""
        return sum(max(MAX_TOKENS, math.ceil(len(prompt) / 4)) for prompt in self.prompts)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Every dimension of the work: both quotas, and the number of calls at once."""
        calls = len(self.prompts)
        return (
            Bound("requests", calls, self.rpm, self.rpm / _WINDOW, self.cut_at),
            Bound("tokens", self.tokens, self.tpm, self.tpm / _WINDOW, self.cut_at),
            Bound("at once", calls, self.at_once, self.at_once / self.one_call),
        )

    @property
    def ideal(self) -> float:
        """Seconds that nobody can beat: the slowest dimension, and then one call."""
        return max(bound.seconds for bound in self.bounds) + self.one_call


def make_prompts(count: int) -> tuple[str, ...]:
    """Tasks over passages of Python's own manual, of log-normal length; the same lengths everywhere."""
    manual = "\n\n".join(topics[name] for name in sorted(topics))
    chances = random.Random(0)
    return tuple(_TASK + _passage(manual, chances) for _ in range(count))


def _passage(manual: str, chances: random.Random) -> str:
    """From the start of a paragraph to the end of a word."""
    drawn = round(_MEDIAN_CHARACTERS * math.exp(chances.gauss(0.0, _SPREAD)))
    length = min(max(drawn, _SHORTEST), _LONGEST)
    # Not randrange: how much chance it draws depends on its range, and manuals differ between Pythons.
    start = manual.find("\n\n", int(chances.random() * (len(manual) - 2 * _LONGEST))) + 2
    end = manual.find(" ", start + length)
    return manual[start:end]
