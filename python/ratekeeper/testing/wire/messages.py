"""Anthropic messages: bodies and events.

Owns the format. ``input_tokens`` excludes what was read from or written to the cache. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ratekeeper.testing.usage import Prompt, count_tokens
from ratekeeper.testing.wire.call import Answer, BadRequestError, Call, Event, Json, Tool
from ratekeeper.testing.wire.chat import model_name, named, pieces, positive, texts


class Messages:
    """``POST /v1/messages``."""

    api = "anthropic.messages"

    def read(self, body: Json, deployment: str | None) -> Call:
        """System prompt, messages, tools, ``output_config.format``; ``max_tokens`` must be there."""
        max_tokens = positive(body, "max_tokens")
        if max_tokens is None:
            raise BadRequestError("max_tokens: Field required")
        tools = [Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or ()]
        wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
        return Call(
            model=model_name(body, deployment),
            prompt=self.prompt(body),
            max_tokens=max_tokens,
            stream=bool(body.get("stream")),
            include_usage=True,
            tools=tools,
            forced=self._forced(body.get("tool_choice") or {}, tools),
            schema=wanted.get("schema"),
            body=body,
        )

    def prompt(self, body: Json) -> Prompt:
        """What is counted of a body; all of it that ``count_tokens`` has too.

        Raises:
            BadRequestError: There are no messages.
        """
        prompt = Prompt()
        if body.get("system"):
            prompt.add_message(body["system"])
        for message in texts(body, "messages"):
            prompt.add_message(message.get("content"))
        prompt.add_json(body.get("tools"))
        return prompt

    def _forced(self, choice: Json, tools: list[Tool]) -> list[Tool]:
        if choice.get("type") == "any":
            return tools[:1]
        return named(tools, choice["name"]) if choice.get("type") == "tool" else []

    def write(self, call: Call, answer: Answer) -> Json:
        """A ``message``."""
        return {
            **self._head(call, answer),
            "content": self._blocks(answer),
            "stop_reason": self._stop(answer),
            "usage": self._final_usage(answer),
        }

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:
        """``message_start`` with the input's usage, blocks, ``message_delta`` with the cumulative usage."""
        message = {**self._head(call, answer), "content": [], "usage": self._usage(answer, 1)}
        yield _event("message_start", message=message)
        for index, block in enumerate(self._blocks(answer)):
            yield from self._block_events(index, block, size)
        delta = {"stop_reason": self._stop(answer), "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=self._final_usage(answer))
        yield _event("message_stop")

    def _block_events(self, index: int, block: Json, size: int) -> Iterator[Event]:
        tool = block["type"] == "tool_use"
        whole = json.dumps(block["input"]) if tool else block["text"]
        empty = {**block, "input": {}} if tool else {**block, "text": ""}
        kind, name = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
        yield _event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield _event("ping")
        for part in pieces(whole, size):
            delta = {"type": kind, name: part}
            yield _event("content_block_delta", tokens=count_tokens(part), index=index, delta=delta)
        yield _event("content_block_stop", index=index)

    def _head(self, call: Call, answer: Answer) -> Json:
        ident = {"id": f"msg_{answer.ident:08d}", "type": "message", "role": "assistant", "model": call.model}
        return {**ident, "stop_reason": None, "stop_sequence": None}

    def _blocks(self, answer: Answer) -> list[Json]:
        blocks: list[Json] = []
        if answer.text is not None:
            blocks.append({"type": "text", "text": answer.text})
        for number, called in enumerate(answer.calls):
            ident = f"toolu_{answer.ident:08d}_{number}"
            blocks.append(
                {"type": "tool_use", "id": ident, "name": called.name, "input": json.loads(called.arguments)}
            )
        return blocks

    def _stop(self, answer: Answer) -> str:
        if answer.calls:
            return "tool_use"
        return "max_tokens" if answer.cut else "end_turn"

    def _final_usage(self, answer: Answer) -> Json:
        """Thinking is a part of the output, and told only when all of it is there."""
        details = {"thinking_tokens": answer.usage.reasoning}
        return {**self._usage(answer, answer.usage.output), "output_tokens_details": details}

    def _usage(self, answer: Answer, output: int) -> Json:
        usage = answer.usage
        return {
            "input_tokens": usage.input - usage.cached - usage.cache_write,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cached,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_write,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": output,
            "service_tier": "standard",
        }


def _event(kind: str, *, tokens: int = 0, **data: Any) -> Event:
    return Event(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode(), tokens)
