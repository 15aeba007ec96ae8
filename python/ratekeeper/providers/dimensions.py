"""Which quota an error says has run out: of what, and per what.

Owns the words that providers use for it. May not read an exception or a clock.
"""

from __future__ import annotations

import re

from .rules import Period

#: (dimension, period); None where not told.
Quota = tuple[str | None, Period | None]

_LETTERS = {"R": "requests", "T": "tokens", "IT": "input_tokens", "OT": "output_tokens", "I": "images"}
_WHAT = {
    "request": "requests",
    "call": "requests",
    "token": "tokens",
    "request token": "tokens",
    "input token": "input_tokens",
    "prompt token": "input_tokens",
    "output token": "output_tokens",
    "completion token": "output_tokens",
    "concurrent connection": "concurrency",
    "concurrent request": "concurrency",
}
_PERIODS: dict[str, Period] = {
    "s": "second", "sec": "second", "second": "second",
    "m": "minute", "min": "minute", "minute": "minute",
    "h": "hour", "hour": "hour",
    "d": "day", "day": "day", "daily": "day", "daily_limit": "day",
    "month": "month", "monthly": "month",
}  # fmt: skip
_ORDER = ("second", "minute", "hour", "day", "month")

_NOUN = (
    r"(?P<what>(?:(?:input|output|prompt|completion|request)[ _-]?)?token|concurrent (?:connection|request)"
    r"|request|call)s?"
)
_PER = r"(?P<per>second|sec|minute|min|hour|day|month|daily|monthly)"
#: From sure to vague; the first that is found decides, and of several of one kind the longest period.
_PATTERNS = (
    # OpenAI, Groq: "on tokens per min (TPM)".
    re.compile(r"\((?P<letters>R|T|IT|OT|I)P(?P<per>[SMHD])\)"),
    # Gemini's quotaId: GenerateContentInputTokensPerModelPerMinute-FreeTier, GenerateRequestsPerDayPerProject.
    re.compile(r"(?P<what>InputToken|OutputToken|Token|Request)s\w{0,64}?Per(?P<per>Second|Minute|Hour|Day)"),
    # Anthropic: "50,000 input tokens per minute". Vertex: "requests_per_minute". Cohere: "calls / month".
    re.compile(rf"{_NOUN}(?: ?/ ?|[ _-]per[ _-]){_PER}", re.IGNORECASE),
    # Anthropic: "Number of request tokens has exceeded your per-minute rate limit", "… your daily rate limit".
    re.compile(rf"{_NOUN} ha(?:s|ve) exceeded your (?:per[ -])?{_PER}", re.IGNORECASE),
    # OpenRouter: "free-models-per-day", "openrouter_free_tier_daily"; counts requests.
    re.compile(r"\bfree[-_]\w+[-_](?:per[-_])?(?P<per>minute|min|daily|day)", re.IGNORECASE),
    # Azure: "exceeded the token rate limit". Bedrock: "Too many tokens, please wait". OpenAI: "type": "tokens".
    re.compile(rf"\b(?:exceeded the|number of) {_NOUN}", re.IGNORECASE),
    # Not "Too many requests", which is what any 429 is called.
    re.compile(r"\btoo many (?P<what>token)s", re.IGNORECASE),
    re.compile(rf"""["']type["']: ?["']{_NOUN}["']""", re.IGNORECASE),
)


def quota_in(text: str) -> Quota:
    """The dimension and the period that an answer's message, codes or quota names speak of."""
    for pattern in _PATTERNS:
        told = [_read(match.groupdict()) for match in pattern.finditer(text)]
        if told:
            return max(told, key=lambda quota: _ORDER.index(quota[1]) if quota[1] else -1)
    return None, None


def _read(groups: dict[str, str | None]) -> Quota:
    letters, what, per = groups.get("letters"), groups.get("what"), groups.get("per")
    period = _PERIODS[per.lower()] if per else None
    if letters:
        return _LETTERS[letters], period
    return _WHAT[_words(what)] if what else "requests", period


def _words(noun: str) -> str:
    """``InputToken``, ``input_token`` and ``input-token`` are ``input token``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]", " ", noun).lower()
