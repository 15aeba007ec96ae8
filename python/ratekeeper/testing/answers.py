"""What the fake provider says: scripted replies, forced tool calls, structured output, or generated text.

Owns the choice and the usage that follows from it. Reported usage is always counted from what is sent, unless
a reply says otherwise. May not read a clock.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

from ratekeeper.testing.schema import minimal
from ratekeeper.testing.settings import Reply, Settings
from ratekeeper.testing.usage import Usage, count_tokens, draw_length, make_text
from ratekeeper.testing.wire.call import Answer, BadRequestError, Call, Called


class Script:
    """Replies still to be given, in order."""

    def __init__(self, replies: Iterable[Reply]) -> None:
        self._left = [[reply, reply.times] for reply in replies]

    def add(self, replies: Iterable[Reply]) -> None:
        """Put replies at the end."""
        self._left += [[reply, reply.times] for reply in replies]

    def take(self, last_message: str) -> Reply | None:
        """The first reply that matches, used up by one; None if none does."""
        for entry in self._left:
            reply, times = entry
            if not isinstance(reply, Reply) or (reply.match is not None and reply.match not in last_message):
                continue
            if isinstance(times, int):
                entry[1] = times - 1
                if times <= 1:
                    self._left.remove(entry)
            return reply
        return None


def prompt_rng(settings: Settings, call: Call) -> random.Random:
    """Chance that depends on the seed and the prompt alone, so that concurrency changes nothing."""
    return random.Random((settings.seed << 32) ^ call.prompt.digest)


def compose(call: Call, reply: Reply | None, settings: Settings, ident: int, created: int) -> Answer:
    """The answer to a call.

    Args:
        call: What was asked.
        reply: The scripted reply, None for a generated one.
        settings: Lengths, shares and seed.
        ident: The request's number.
        created: Unix seconds.

    Raises:
        BadRequestError: The call's schema cannot be met.
    """
    calls = _calls(call, reply)
    text, cut = _text(call, reply, settings, bool(calls))
    said = count_tokens(text or "") + sum(count_tokens(c.name) + count_tokens(c.arguments) for c in calls)
    usage = _usage(call, reply, settings, said)
    return Answer(ident, created, text, calls, cut, usage)


def _calls(call: Call, reply: Reply | None) -> list[Called]:
    if reply and (reply.tool_calls or reply.text is not None):
        schemas = {tool.name: tool.schema for tool in call.tools}
        return [
            Called(
                c.name,
                json.dumps(dict(c.arguments)) if c.arguments is not None else _least(schemas.get(c.name, {})),
            )
            for c in reply.tool_calls
        ]
    return [Called(tool.name, _least(tool.schema)) for tool in call.forced]


def _least(schema: object) -> str:
    try:
        return json.dumps(minimal(schema if isinstance(schema, dict) else {}))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadRequestError(f"Invalid schema: no value could be made of it ({error!r}).") from error


def _text(call: Call, reply: Reply | None, settings: Settings, has_calls: bool) -> tuple[str | None, bool]:
    if reply and reply.text is not None:
        text = reply.text
    elif has_calls:
        return None, False
    elif call.schema is not None:
        text = _least(call.schema)
    else:
        rng = prompt_rng(settings, call)
        tokens = draw_length(settings.output_tokens, settings.output_sigma, rng)
        text = make_text(reply.tokens if reply and reply.tokens is not None else tokens)
    if call.max_tokens is not None and count_tokens(text) > call.max_tokens:
        return text[: 4 * call.max_tokens], True
    return text, False


def _usage(call: Call, reply: Reply | None, settings: Settings, said: int) -> Usage:
    counted = call.prompt.tokens
    if reply is None:
        cached, write, reasoning = int(counted * settings.cached_share), 0, settings.reasoning_tokens
    else:
        counted = counted if reply.input_tokens is None else reply.input_tokens
        cached, write, reasoning = reply.cached_tokens, reply.cache_write_tokens, reply.reasoning_tokens
    cached = min(cached, counted)
    write = min(write, counted - cached)
    return Usage(counted, said * call.choices + reasoning, cached, write, reasoning)
