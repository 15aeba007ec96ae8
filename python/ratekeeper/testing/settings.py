"""What a fake provider is told to do beside limits: faults, replies, timing. Values only.

Owns their fields, their checks and their way to and from JSON. May not hold state, read a clock or do I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ratekeeper.errors import ConfigError
from ratekeeper.testing.checks import number, one_of
from ratekeeper.testing.limits import Limits, QuotaChange

FaultKind = Literal[
    "rate_limit",
    "slow_down",
    "ramp_limit",
    "insufficient_quota",
    "overloaded",
    "server_error",
    "model_error",
    "unavailable",
    "broken_stream",
    "slow",
]


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong, by schedule, by count or by chance; all conditions given must hold.

    Attributes:
        kind: ``rate_limit`` (429, whatever the quota says), ``slow_down`` and ``ramp_limit`` (429 for growing too
            fast, in the words of OpenAI and of Anthropic; an ordinary ``rate_limit`` from those who have no
            such words), ``insufficient_quota`` (429 that no wait cures), ``overloaded`` (529 from Anthropic, 503
            elsewhere), ``server_error`` (500), ``model_error`` (424 from Bedrock, 500 elsewhere), ``unavailable``
            (503), ``broken_stream`` (the connection is cut in the middle of the answer), ``slow`` (``delay`` on
            top).
        probability: Chance for a request that meets the other conditions, drawn from the provider's seed.
        every: Every n-th such request.
        times: At most so many in all.
        after: Only from this many seconds after the start (or the last reset).
        until: Only before this many seconds.
        model: Only models or deployments of this shell pattern.
        retry_after: Seconds named to the client (``rate_limit``, ``slow_down``, ``ramp_limit``, ``overloaded``,
            ``unavailable``). None names none.
        delay: Seconds added by ``slow``.
        after_events: Events sent before a ``broken_stream``; None cuts halfway.
    """

    kind: FaultKind
    probability: float = 1.0
    every: int = 1
    times: int | None = None
    after: float = 0.0
    until: float | None = None
    model: str = "*"
    retry_after: float | None = None
    delay: float = 0.0
    after_events: int | None = None

    def __post_init__(self) -> None:
        one_of("fault.kind", self.kind, get_args(FaultKind))
        number("fault.probability", self.probability)
        if self.probability > 1:
            raise ConfigError(
                f"fault.probability must be at most 1, not {self.probability!r}", field="fault.probability"
            )
        number("fault.every", self.every, least=1)
        for name in ("times", "after", "until", "retry_after", "delay", "after_events"):
            number(f"fault.{name}", getattr(self, name))


@dataclass(kw_only=True)
class ToolCall:
    """A call of a tool in a scripted reply.

    Attributes:
        name: The tool's name.
        arguments: Its arguments. None takes the least that the tool's schema in the request allows.
    """

    name: str
    arguments: Mapping[str, Any] | None = None


@dataclass(kw_only=True)
class Reply:
    """An answer written out in a test; replies are used in order, each once.

    Attributes:
        text: The text. None takes generated text (and none at all beside tool calls).
        tokens: How long a generated text is, in tokens.
        tool_calls: Tools to call.
        input_tokens: Reported instead of the counted prompt, cached tokens included.
        cached_tokens: Part of the input read from the cache.
        cache_write_tokens: Part of the input written to the cache.
        reasoning_tokens: Output tokens on top of the text's.
        latency: Seconds before the answer, instead of the provider's.
        match: Only for a request whose last message contains this.
        times: Used so often; None for ever.
    """

    text: str | None = None
    tokens: int | None = None
    tool_calls: Sequence[ToolCall] = ()
    input_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    latency: float | None = None
    match: str | None = None
    times: int | None = 1

    def __post_init__(self) -> None:
        counts = ("tokens", "input_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
        for name in (*counts, "latency", "times"):
            number(f"reply.{name}", getattr(self, name))


@dataclass(kw_only=True)
class Settings(Limits):
    """All of a fake provider's settings; its own limits are those of models not named in ``models``.

    Attributes:
        models: Limits by shell pattern of model or deployment, the first that matches.
        changes: Cuts and raises of limits at given moments.
        faults: What goes wrong; the first that applies to a request is taken.
        replies: Scripted answers.
        headers: Send rate-limit and retry headers. False sends none at all, as some gateways do.
        hints: Refusals tell how long to wait, in a retry header and in their message. False with
            ``headers=False`` leaves nothing to go by but the status.
        azure_unknown: Azure's Responses API answers with ``-1``, ``-1`` and ``0`` in its limit headers and without
            a retry header, as it may.
        latency: Seconds before an answer, or before the first event of a stream.
        latency_jitter: Share of ``latency`` by which it varies, evenly to both sides.
        token_latency: Seconds an output token takes, streamed or not. With 0 a stream is sent all at once.
        output_tokens: Median length of generated answers in tokens.
        output_sigma: Spread of that length: sigma of a log-normal distribution; 0 makes all answers equal.
        cached_share: Share of the prompt reported as read from the cache.
        reasoning_tokens: Reasoning tokens reported in every generated answer.
        stream_tokens: Tokens in one event of a stream.
        seed: Of lengths, jitter and chances. A prompt's answer depends on the seed and the prompt alone, not
            on order.
        timeline_limit: Requests kept in the report's timeline; the oldest go first.
    """

    models: Mapping[str, Limits] = field(default_factory=dict)
    changes: Sequence[QuotaChange] = ()
    faults: Sequence[Fault] = ()
    replies: Sequence[Reply] = ()
    headers: bool = True
    hints: bool = True
    azure_unknown: bool = False
    latency: float = 0.0
    latency_jitter: float = 0.0
    token_latency: float = 0.0
    output_tokens: int = 32
    output_sigma: float = 0.0
    cached_share: float = 0.0
    reasoning_tokens: int = 0
    stream_tokens: int = 8
    seed: int = 0
    timeline_limit: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "latency",
            "latency_jitter",
            "token_latency",
            "output_sigma",
            "cached_share",
            "reasoning_tokens",
        ):
            number(name, getattr(self, name))
        for name in ("output_tokens", "stream_tokens"):
            number(name, getattr(self, name), least=1)
        for name in ("latency_jitter", "cached_share"):
            if getattr(self, name) > 1:
                raise ConfigError(f"{name} must be a share between 0 and 1", field=name)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        own = {f.name for f in fields(Settings)}
        return {name: value for name, value in asdict(self).items() if name in own}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Settings:
        """Settings from what ``to_json`` gave.

        Raises:
            ConfigError: A value is out of its range.
        """
        return cls(
            **{
                **raw,
                "models": {pattern: Limits(**limits) for pattern, limits in raw["models"].items()},
                "changes": [QuotaChange(**change) for change in raw["changes"]],
                "faults": [Fault(**fault) for fault in raw["faults"]],
                "replies": [reply_from_json(reply) for reply in raw["replies"]],
            }
        )


def reply_from_json(raw: Mapping[str, Any]) -> Reply:
    """A reply from its JSON form."""
    return Reply(**{**raw, "tool_calls": [ToolCall(**call) for call in raw.get("tool_calls", ())]})
