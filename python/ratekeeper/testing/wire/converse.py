"""Bedrock Converse: bodies and events.

Owns the format. ``inputTokens`` excludes what was read from or written to the cache. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ratekeeper.testing.usage import Prompt, count_tokens
from ratekeeper.testing.wire.call import Answer, BadRequestError, Call, Event, Json, Tool
from ratekeeper.testing.wire.chat import model_name, named, pieces, positive, texts
from ratekeeper.testing.wire.eventstream import encode

EVENT_STREAM = "application/vnd.amazon.eventstream"
_MEDIA = ("image", "document", "video", "audio")


def read_prompt(body: Json) -> Prompt:
    """What is counted of a body; all of it that ``count-tokens`` has too.

    Raises:
        BadRequestError: There are no messages.
    """
    prompt = Prompt()
    if body.get("system"):
        prompt.add_message(list(_blocks(body["system"])))
    for message in texts(body, "messages"):
        prompt.add_message(list(_blocks(message.get("content"))))
    prompt.add_json((body.get("toolConfig") or {}).get("tools"))
    return prompt


def _blocks(content: Any) -> Iterator[Json]:
    """Content blocks in the words of the counting: texts, images and tool calls."""
    for block in content or ():
        if "toolUse" in block:
            yield {"type": "tool_use", "input": block["toolUse"].get("input")}
        elif "toolResult" in block:
            yield from _blocks(block["toolResult"].get("content"))
        elif "json" in block:
            yield {"text": json.dumps(block["json"])}
        else:
            yield {"type": "image"} if any(kind in block for kind in _MEDIA) else block


class Converse:
    """``POST /model/{modelId}/converse``, and ``/converse-stream`` if streamed."""

    api = "bedrock.converse"

    def __init__(self, *, stream: bool = False) -> None:
        self._stream = stream

    def read(self, body: Json, deployment: str | None) -> Call:
        """System blocks, messages, ``toolConfig``, ``outputConfig``; the model is in the path."""
        config = body.get("toolConfig") or {}
        specs = [tool["toolSpec"] for tool in config.get("tools") or () if "toolSpec" in tool]
        tools = [Tool(spec["name"], spec.get("inputSchema", {}).get("json") or {}) for spec in specs]
        return Call(
            model=model_name(body, deployment),
            prompt=read_prompt(body),
            max_tokens=positive(body.get("inferenceConfig") or {}, "maxTokens"),
            stream=self._stream,
            media=EVENT_STREAM,
            include_usage=True,
            tools=tools,
            forced=self._forced(config.get("toolChoice") or {}, tools),
            schema=self._schema(body.get("outputConfig") or {}),
            body=body,
        )

    def _forced(self, choice: Json, tools: list[Tool]) -> list[Tool]:
        if "any" in choice:
            return tools[:1]
        return named(tools, choice["tool"]["name"]) if "tool" in choice else []

    def _schema(self, config: Json) -> Json | None:
        wanted = config.get("textFormat")
        if not wanted:
            return None
        schema = json.loads(wanted["structure"]["jsonSchema"]["schema"])
        if not isinstance(schema, dict):
            raise BadRequestError("The JSON schema of the output must be an object.")
        return schema

    def write(self, call: Call, answer: Answer) -> Json:  # noqa: ARG002
        """Message, stop reason, usage."""
        content: list[Json] = [{"text": answer.text}] if answer.text is not None else []
        content += [{"toolUse": use} for use in self._uses(answer)]
        message = {"role": "assistant", "content": content}
        return {"output": {"message": message}, "stopReason": self._stop(answer), **self._metadata(answer)}

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:  # noqa: ARG002
        """``messageStart``, blocks, ``messageStop``, and ``metadata`` with the usage at the end."""
        yield _event("messageStart", role="assistant")
        index = 0
        if answer.text is not None:
            yield from self._deltas(index, [({"text": part}, part) for part in pieces(answer.text, size)])
            index += 1
        for use in self._uses(answer):
            parts = pieces(json.dumps(use.pop("input")), size)
            yield _event("contentBlockStart", contentBlockIndex=index, start={"toolUse": use})
            yield from self._deltas(index, [({"toolUse": {"input": part}}, part) for part in parts])
            index += 1
        yield _event("messageStop", stopReason=self._stop(answer))
        yield _event("metadata", **self._metadata(answer))

    def _deltas(self, index: int, deltas: list[tuple[Json, str]]) -> Iterator[Event]:
        """A block's parts and its end; only a tool's block has a start."""
        for delta, said in deltas:
            yield _event("contentBlockDelta", tokens=count_tokens(said), contentBlockIndex=index, delta=delta)
        yield _event("contentBlockStop", contentBlockIndex=index)

    def _uses(self, answer: Answer) -> list[Json]:
        return [
            {
                "toolUseId": f"tooluse_{answer.ident:08d}_{number}",
                "name": called.name,
                "input": json.loads(called.arguments),
            }
            for number, called in enumerate(answer.calls)
        ]

    def _stop(self, answer: Answer) -> str:
        if answer.calls:
            return "tool_use"
        return "max_tokens" if answer.cut else "end_turn"

    def _metadata(self, answer: Answer) -> Json:
        usage = answer.usage
        counts = {
            "inputTokens": usage.input - usage.cached - usage.cache_write,
            "outputTokens": usage.output,
            "totalTokens": usage.input + usage.output,
            "cacheReadInputTokens": usage.cached,
            "cacheWriteInputTokens": usage.cache_write,
        }
        return {"usage": counts, "metrics": {"latencyMs": 1}}


def _event(kind: str, *, tokens: int = 0, **data: Any) -> Event:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return Event(encode(headers, json.dumps(data).encode()), tokens)
