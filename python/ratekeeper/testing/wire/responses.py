"""OpenAI responses: bodies and events.

Owns the format. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ratekeeper.testing.usage import Prompt, count_tokens
from ratekeeper.testing.wire.call import Answer, BadRequestError, Call, Event, Json, Tool
from ratekeeper.testing.wire.chat import model_name, named, pieces, positive

Part = tuple[str, int, Json]
"""An event before it has its number: its type, its output tokens, its data."""


class Responses:
    """``POST /responses``."""

    api = "openai.responses"

    def read(self, body: Json, deployment: str | None) -> Call:
        """``instructions``, ``input`` as text or items, function tools, ``text.format``."""
        tools = [Tool(t["name"], t.get("parameters") or {}) for t in body.get("tools") or () if "name" in t]
        wanted = (body.get("text") or {}).get("format") or {}
        return Call(
            model=model_name(body, deployment),
            prompt=self._prompt(body),
            max_tokens=positive(body, "max_output_tokens"),
            stream=bool(body.get("stream")),
            include_usage=True,
            tools=tools,
            forced=self._forced(body.get("tool_choice"), tools),
            schema=self._schema(wanted),
            body=body,
        )

    def _prompt(self, body: Json) -> Prompt:
        prompt = Prompt()
        if body.get("instructions"):
            prompt.add_message(body["instructions"])
        items = body.get("input")
        if isinstance(items, str):
            items = [{"role": "user", "content": items}]
        if not isinstance(items, list) or not items:
            raise BadRequestError("Missing required parameter: 'input'.")
        for item in items:
            prompt.add_message(item.get("content") or item.get("output") or item.get("arguments"))
        prompt.add_json(body.get("tools"))
        return prompt

    def _forced(self, choice: object, tools: list[Tool]) -> list[Tool]:
        if choice == "required":
            return tools[:1]
        return named(tools, choice["name"]) if isinstance(choice, dict) and "name" in choice else []

    def _schema(self, wanted: Json) -> Json | None:
        if wanted.get("type") == "json_schema":
            schema: Json = wanted.get("schema") or {}
            return schema
        return {} if wanted.get("type") == "json_object" else None

    def write(self, call: Call, answer: Answer) -> Json:
        """A ``response``."""
        return self._response(
            call, answer, self._items(answer), status="incomplete" if answer.cut else "completed"
        )

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:
        """Numbered events from ``response.created`` to ``response.completed`` (or ``.incomplete``)."""
        whole = self.write(call, answer)
        begun = self._response(call, answer, [], status="in_progress")
        plain: list[Part] = [
            ("response.created", 0, {"response": begun}),
            ("response.in_progress", 0, {"response": begun}),
        ]
        for index, item in enumerate(self._items(answer)):
            plain += self._item_events(index, item, size)
        plain.append((f"response.{whole['status']}", 0, {"response": whole}))
        for number, (kind, tokens, data) in enumerate(plain):
            body = json.dumps({"type": kind, "sequence_number": number, **data})
            yield Event(f"event: {kind}\ndata: {body}\n\n".encode(), tokens)

    def _item_events(self, index: int, item: Json, size: int) -> list[Part]:
        called = item["type"] == "function_call"
        nothing: Json = {"arguments": ""} if called else {"content": []}
        empty = {**item, "status": "in_progress", **nothing}
        inner = self._call_events(index, item, size) if called else self._text_events(index, item, size)
        return [
            ("response.output_item.added", 0, {"output_index": index, "item": empty}),
            *inner,
            ("response.output_item.done", 0, {"output_index": index, "item": item}),
        ]

    def _call_events(self, index: int, item: Json, size: int) -> list[Part]:
        at = {"output_index": index, "item_id": item["id"]}
        name = "response.function_call_arguments"
        parts = [
            (f"{name}.delta", count_tokens(part), {**at, "delta": part})
            for part in pieces(item["arguments"], size)
        ]
        return [*parts, (f"{name}.done", 0, {**at, "name": item["name"], "arguments": item["arguments"]})]

    def _text_events(self, index: int, item: Json, size: int) -> list[Part]:
        at = {"output_index": index, "item_id": item["id"], "content_index": 0}
        part = item["content"][0]
        deltas = [
            ("response.output_text.delta", count_tokens(text), {**at, "delta": text, "logprobs": []})
            for text in pieces(part["text"], size)
        ]
        return [
            ("response.content_part.added", 0, {**at, "part": {**part, "text": ""}}),
            *deltas,
            ("response.output_text.done", 0, {**at, "text": part["text"], "logprobs": []}),
            ("response.content_part.done", 0, {**at, "part": part}),
        ]

    def _items(self, answer: Answer) -> list[Json]:
        items: list[Json] = []
        if answer.text is not None:
            part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
            items.append(self._item("message", f"msg_{answer.ident:08d}", role="assistant", content=[part]))
        for number, called in enumerate(answer.calls):
            tail = f"{answer.ident:08d}_{number}"
            named_call = {"call_id": f"call_{tail}", "name": called.name, "arguments": called.arguments}
            items.append(self._item("function_call", f"fc_{tail}", **named_call))
        return items

    def _item(self, kind: str, ident: str, **rest: Any) -> Json:
        return {"id": ident, "type": kind, "status": "completed", **rest}

    def _response(self, call: Call, answer: Answer, output: list[Json], *, status: str) -> Json:
        done = status != "in_progress"
        return {
            "id": f"resp_{answer.ident:08d}",
            "object": "response",
            "created_at": answer.created,
            "status": status,
            "model": call.model,
            "output": output,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": call.body.get("instructions"),
            "max_output_tokens": call.max_tokens,
            "metadata": call.body.get("metadata") or {},
            "parallel_tool_calls": True,
            "temperature": call.body.get("temperature", 1.0),
            "top_p": call.body.get("top_p", 1.0),
            "text": call.body.get("text") or {"format": {"type": "text"}},
            "tool_choice": call.body.get("tool_choice") or "auto",
            "tools": call.body.get("tools") or [],
            "usage": self._usage(answer) if done else None,
        }

    def _usage(self, answer: Answer) -> Json:
        usage = answer.usage
        return {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        }
