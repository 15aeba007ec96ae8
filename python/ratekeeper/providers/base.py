"""The words that every provider's facts are written in: request, sizes, amounts, usage.

Owns the plain values and the default rules. May not import an SDK, read a clock or hold state.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from .usage import Usage, read_usage

if TYPE_CHECKING:
    from .limits import LearnedLimit

SECOND = 1.0
MINUTE = 60.0
DAY = 86_400.0

#: Seconds of the periods that the limit of a dimension may have. One: that is it. Several: the numbers tell
#: which.
Periods = Mapping[str, tuple[float, ...]]


class Request(NamedTuple):
    """One call as an adapter sees it, before it is sent.

    Attributes:
        model: The name the quota goes by: the model id, and on Azure the deployment.
        content: What the model reads: a str, bytes, or a list of OpenAI or Anthropic message dicts (system
            prompt included).
        tools: Tool schemas as sent (a list of dicts), or None.
        max_tokens: The ceiling on output tokens the request names, or None if it names none.
        n: How many answers are asked for (`n`, or `best_of` if larger).
        caller: Who calls (agent, chain, job): estimates are corrected per (model, caller). "" takes it from
            `wrap(agent=)` or the tags.
        stream: Whether the answer is streamed.
        run: The framework's run that the call is part of, if any (any hashable value): a call that was given up
            and that the run repeats is not sent again.
    """

    model: str
    content: object = None
    tools: object = None
    max_tokens: int | None = None
    n: int = 1
    caller: str = ""
    stream: bool = False
    run: Hashable = None

    @property
    def text(self) -> str:
        """All the text of `content`, joined by newlines: for token counting functions that take a string."""
        return "\n".join(_texts(self.content))

    @property
    def output_ceiling(self) -> int | None:
        """The most output tokens all answers together may have, or None if the request names no ceiling."""
        return None if self.max_tokens is None else self.max_tokens * max(self.n, 1)


class Sizes(NamedTuple):
    """What is known of a request's size before it is sent.

    Attributes:
        input_tokens: Estimated input tokens that the quota will count, corrected by earlier answers.
        output_tokens: Learned 95th percentile of output tokens, at most the request's ceiling. Our estimate
            only.
        prompt_quarter: A quarter of the request's characters (plus the tokens of its images), rounded up: the
            rule by which OpenAI and Azure estimate a prompt, whatever its real tokens.
    """

    input_tokens: int
    output_tokens: int
    prompt_quarter: int


class Amounts(NamedTuple):
    """What a call asks of each bucket of its quota; `tokens` is the total and need not be input + output."""

    requests: int
    input_tokens: int
    output_tokens: int
    tokens: int


class Provider:
    """Facts of one API; this class itself is the cautious default for an API nobody described.

    The default counts input and output tokens, reserves the learned output and settles with all that was
    used.
    """

    name: str = "generic"
    #: Hosts at which one API key means one account; any other host becomes part of the account.
    default_hosts: tuple[str, ...] = ()
    #: True where the quota belongs to the endpoint, not to the key that opens it.
    account_is_host: bool = False
    #: The periods of the limits that stand in the headers, where documented.
    periods: ClassVar[Periods] = {}
    #: Whether it counts in windows rather than buckets, so that a reset does not depend on what is used.
    windows: bool = False

    def group(self, model: str) -> str:
        """The quota group of a model, shared by models with one limit. By default each has its own."""
        return model

    def reserve(self, request: Request, sizes: Sizes) -> Amounts:
        """The amounts to take before the call is sent."""
        del request
        return Amounts(1, sizes.input_tokens, sizes.output_tokens, sizes.input_tokens + sizes.output_tokens)

    def settle(self, request: Request, sizes: Sizes, usage: Usage) -> Amounts:
        """The amounts that replace the reserved ones once the usage is known."""
        del request, sizes
        counted = self.counted_input(usage)
        return Amounts(1, counted, usage.output_tokens, counted + usage.output_tokens)

    def counted_input(self, usage: Usage) -> int:
        """The input tokens that count against the quota; by default all of them, cached ones too."""
        return usage.input_tokens

    def usage(self, response: object) -> Usage | None:
        """The usage in a raw response (a dict or an SDK object), or None if it carries none."""
        return read_usage(response)

    def limits(self, headers: object, now: float) -> tuple[LearnedLimit, ...]:
        """What the headers of an answer or an error say of the limits; `now` in seconds since the epoch."""
        from .limits import read_limits  # noqa: PLC0415 (a dozen patterns: not at import)

        return read_limits(headers, now, self.periods, windows=self.windows)

    def __repr__(self) -> str:
        return f"<provider {self.name}>"


def _texts(content: Any) -> list[str]:
    """Every piece of text a model reads in `content`, in order; pictures and other media have none."""
    if isinstance(content, str):
        return [content]
    if isinstance(content, bytes | bytearray | memoryview):
        return [bytes(content).decode("utf-8", "replace")]
    if isinstance(content, Mapping):
        parts = content.get("content"), content.get("text"), content.get("input")
        return [text for part in parts if part is not None for text in _texts(part)]
    if isinstance(content, Sequence):
        return [text for part in content for text in _texts(part)]
    return []
