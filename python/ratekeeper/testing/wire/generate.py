"""Gemini generateContent: bodies and chunks.

Owns the format. ``promptTokenCount`` includes the cached tokens, ``candidatesTokenCount`` leaves the thoughts out.
Names are taken in camelCase and in snake_case, as Google takes them. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ratekeeper.testing.usage import Prompt, count_tokens
from ratekeeper.testing.wire.call import Answer, Call, Event, Json, Tool
from ratekeeper.testing.wire.chat import model_name, named, pieces, positive, texts

Piece = tuple[Json, int]
"""A part of an answer and its output tokens."""


def pick(source: Json, name: str) -> Any:
    """A field by its name in camelCase, or else in snake_case."""
    value = source.get(name)
    return source.get(re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", name)) if value is None else value


def read_parts(content: Json) -> Iterator[Json]:
    """The parts of a content, in the words of the counting: texts, images and tool calls."""
    for part in content.get("parts") or ():
        called, answered = pick(part, "functionCall"), pick(part, "functionResponse")
        if called:
            yield {"type": "tool_use", "input": called.get("args")}
        elif answered:
            yield {"text": json.dumps(answered.get("response"))}
        elif pick(part, "inlineData") or pick(part, "fileData"):
            yield {"type": "image"}
        else:
            yield part


def read_prompt(body: Json) -> Prompt:
    """What is counted of a body; all of it that ``countTokens`` has too.

    Raises:
        BadRequestError: There are no contents.
    """
    prompt = Prompt()
    if system := pick(body, "systemInstruction"):
        prompt.add_message(list(read_parts(system)))
    for content in texts(body, "contents"):
        prompt.add_message(list(read_parts(content)))
    prompt.add_json(body.get("tools"))
    return prompt


class Generate:
    """``POST …/models/{model}:generateContent``, and ``:streamGenerateContent?alt=sse`` if streamed."""

    api = "gemini.generate"

    def __init__(self, *, stream: bool = False) -> None:
        self._stream = stream

    def read(self, body: Json, deployment: str | None) -> Call:
        """System instruction, contents, function declarations, ``generationConfig``; the model is in the path."""
        config: Json = pick(body, "generationConfig") or {}
        tools = [_tool(declared) for tool in body.get("tools") or () for declared in _declared(tool)]
        return Call(
            model=model_name(body, deployment),
            prompt=read_prompt(body),
            max_tokens=positive(config, "maxOutputTokens", "max_output_tokens"),
            stream=self._stream,
            include_usage=True,
            tools=tools,
            forced=self._forced(body, tools),
            schema=self._schema(config),
            choices=positive(config, "candidateCount", "candidate_count") or 1,
            body=body,
        )

    def _forced(self, body: Json, tools: list[Tool]) -> list[Tool]:
        config = pick(pick(body, "toolConfig") or {}, "functionCallingConfig") or {}
        if config.get("mode") != "ANY":
            return []
        allowed = pick(config, "allowedFunctionNames")
        return named(tools, allowed[0]) if allowed else tools[:1]

    def _schema(self, config: Json) -> Json | None:
        schema = pick(config, "responseJsonSchema") or pick(config, "responseSchema")
        if schema:
            return dict(_lower(schema))
        return {} if pick(config, "responseMimeType") == "application/json" else None

    def write(self, call: Call, answer: Answer) -> Json:
        """A ``GenerateContentResponse``."""
        parts = [] if answer.text is None else [{"text": answer.text}]
        parts += [part for part, _ in self._calls(answer)]
        candidates = [self._candidate(answer, index, parts, last=True) for index in range(call.choices)]
        return self._response(call, answer, candidates, _said(answer))

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:
        """Chunks of the same form, each with the usage so far; a function call comes whole."""
        parts = [({"text": text}, count_tokens(text)) for text in pieces(answer.text or "", size)]
        parts = [*parts, *self._calls(answer)] or [({"text": ""}, 0)]
        said = 0
        for index in range(call.choices):
            for number, (part, tokens) in enumerate(parts, 1):
                said += tokens
                candidate = self._candidate(answer, index, [part], last=number == len(parts))
                data = json.dumps(self._response(call, answer, [candidate], said))
                yield Event(f"data: {data}\r\n\r\n".encode(), tokens)

    def _calls(self, answer: Answer) -> list[Piece]:
        return [
            (
                {"functionCall": {"name": called.name, "args": json.loads(called.arguments)}},
                count_tokens(called.name) + count_tokens(called.arguments),
            )
            for called in answer.calls
        ]

    def _candidate(self, answer: Answer, index: int, parts: list[Json], *, last: bool) -> Json:
        candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": index}
        if last:
            candidate["finishReason"] = "MAX_TOKENS" if answer.cut else "STOP"
        return candidate

    def _response(self, call: Call, answer: Answer, candidates: list[Json], said: int) -> Json:
        return {
            "candidates": candidates,
            "usageMetadata": self._usage(answer, said),
            "modelVersion": call.model,
            "responseId": f"resp_{answer.ident:08d}",
        }

    def _usage(self, answer: Answer, said: int) -> Json:
        """A count of 0 is left out, as Google leaves out what has its default."""
        usage = answer.usage
        counts = {
            "promptTokenCount": usage.input,
            "candidatesTokenCount": said,
            "totalTokenCount": usage.input + said + usage.reasoning,
            "cachedContentTokenCount": usage.cached,
            "thoughtsTokenCount": usage.reasoning,
        }
        details = {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}]}
        return {**{name: count for name, count in counts.items() if count}, **details}


def _said(answer: Answer) -> int:
    return answer.usage.output - answer.usage.reasoning


def _declared(tool: Json) -> list[Json]:
    return pick(tool, "functionDeclarations") or []


def _tool(declared: Json) -> Tool:
    schema = pick(declared, "parametersJsonSchema") or declared.get("parameters") or {}
    return Tool(declared["name"], dict(_lower(schema)))


def _lower(schema: Any) -> Any:
    """A schema with the types of JSON Schema: Google's own has ``STRING`` for ``string``."""
    if isinstance(schema, list):
        return [_lower(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
        for name, value in schema.items()
    }
