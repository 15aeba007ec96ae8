"""A request and its answer in the words of no vendor, and the two interfaces between wire and server.

Values and protocols only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.quotas import Account, Amounts, Refusal
from ratekeeper.testing.usage import Prompt, Usage

Json = dict[str, Any]
Headers = Mapping[str, str]
ProblemKind = Literal[
    "rate_limit",
    "slow_down",
    "ramp_limit",
    "insufficient_quota",
    "overloaded",
    "server_error",
    "model_error",
    "unavailable",
    "authentication",
    "bad_request",
    "not_found",
]


SSE = "text/event-stream; charset=utf-8"


class BadRequestError(ValueError):
    """The body is not what the API takes; the message goes to the client."""


@dataclass
class Tool:
    """A tool the request offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass
class Call:
    """What was asked.

    Attributes:
        model: The model named in the body, or the Azure deployment: whose quota it is.
        prompt: What was counted of the messages.
        max_tokens: The most output tokens allowed, None if not said.
        stream: Answer in events.
        media: What kind of events: server-sent ones, if not said.
        include_usage: Send the usage in a stream.
        tools: The tools offered.
        forced: Tools that must be called.
        schema: JSON Schema the text must obey; an empty one is any object.
        choices: Answers asked for.
        body: The request itself.
    """

    model: str
    prompt: Prompt
    max_tokens: int | None = None
    stream: bool = False
    media: str = SSE
    include_usage: bool = False
    tools: list[Tool] = field(default_factory=list)
    forced: list[Tool] = field(default_factory=list)
    schema: Mapping[str, Any] | None = None
    choices: int = 1
    body: Json = field(default_factory=dict)


@dataclass
class Called:
    """A tool call in an answer, its arguments as JSON text."""

    name: str
    arguments: str


@dataclass
class Answer:
    """What is answered.

    Attributes:
        ident: A number that is this request's alone; identifiers are made of it.
        created: Unix seconds.
        text: The text; None beside tool calls.
        calls: Tool calls.
        cut: The text ended at ``max_tokens``.
        usage: What is reported.
    """

    ident: int
    created: int
    text: str | None
    calls: list[Called]
    cut: bool
    usage: Usage


@dataclass
class Event:
    """One event of a stream and the output tokens it carries."""

    data: bytes
    tokens: int = 0


@dataclass
class Problem:
    """Why there is no answer.

    Attributes:
        kind: What sort of refusal or failure.
        message: For the client; None takes the vendor's usual words.
        retry_after: Seconds until it is worth another try; None names none.
        refusal: The quota that had no room, for a ``rate_limit`` that a quota caused.
    """

    kind: ProblemKind
    message: str | None = None
    retry_after: float | None = None
    refusal: Refusal | None = None


class Format(Protocol):
    """One body format."""

    api: str

    def read(self, body: Json, deployment: str | None) -> Call:
        """The call that a body describes.

        Raises:
            BadRequestError: The body lacks something or has it wrong.
        """

    def write(self, call: Call, answer: Answer) -> Json:
        """The whole answer."""

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:
        """The answer as events of ``size`` tokens."""


class Vendor(Protocol):
    """What one vendor does its own way; what most do alike is written here.

    Attributes:
        algorithm: How its quotas are counted, if the limits do not say.
        total_as_produced: Tokens in total are what a call turns out to use, not what it asks at the start.
        cached_is_free: Input read from the cache does not count.
    """

    algorithm: Algorithm
    total_as_produced: bool
    cached_is_free: bool

    def key(self, headers: Headers) -> str | None:
        """The API key in a request's headers."""

    def amounts(self, call: Call) -> Amounts:
        """What the call counts before it runs."""

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:
        """The account's state: monotonic ``now``, and ``wall`` for dates."""

    def retry_headers(self, problem: Problem) -> dict[str, str]:
        """When to come back."""

    def ident_headers(self, ident: int) -> dict[str, str]:
        """The request's identifier."""

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:
        """Status and body."""

    def error_headers(self, problem: Problem) -> dict[str, str]:  # noqa: ARG002
        """What an error's headers say beside limits and waits: nothing, with most."""
        return {}

    def settled(self, call: Call, usage: Usage) -> int | None:  # noqa: ARG002
        """The tokens that stay counted when the call has ended; None for what was counted before."""
        return None
