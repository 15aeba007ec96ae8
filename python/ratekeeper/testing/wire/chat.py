"""OpenAI chat completions: bodies and chunks.

Owns the format that OpenAI, Azure and many others speak. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ratekeeper.testing.usage import Prompt, count_tokens
from ratekeeper.testing.wire.call import Answer, BadRequestError, Call, Called, Event, Json, Tool

DONE = Event(b"data: [DONE]\n\n")


def positive(body: Json, *names: str) -> int | None:
    """The first of some fields that is set, as a whole number above 0."""
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadRequestError(f"Invalid '{name}': integer above 0 expected, got {value!r}.")
            return value
    return None


def texts(body: Json, name: str) -> list[Json]:
    """A list of objects that must be there."""
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise BadRequestError(f"Invalid '{name}': a non-empty array of objects expected.")
    return value


def model_name(body: Json, deployment: str | None) -> str:
    """Whose quota it is: an Azure deployment in the path goes before the body's model."""
    name = deployment or body.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequestError("you must provide a model parameter")
    return name


def named(tools: list[Tool], name: str) -> list[Tool]:
    """The tool of a name, which must be offered."""
    found = [tool for tool in tools if tool.name == name]
    if not found:
        raise BadRequestError(f"Tool choice '{name}' not found in 'tools' parameter.")
    return found


def pieces(text: str, size: int) -> Iterator[str]:
    """A text in parts of ``size`` tokens."""
    return (text[i : i + 4 * size] for i in range(0, len(text), 4 * size))


def _call_deltas(first: Json, called: Called, size: int) -> Iterator[tuple[Json, int]]:
    """A tool call in parts: its name, then its arguments, each with its tokens."""
    yield {**first, "function": {"name": called.name, "arguments": ""}}, 0
    for part in pieces(called.arguments, size):
        yield {"index": first["index"], "function": {"arguments": part}}, count_tokens(part)


class Chat:
    """``POST /chat/completions``."""

    api = "openai.chat"

    def read(self, body: Json, deployment: str | None) -> Call:
        """Messages of all roles and part types; ``max_completion_tokens`` goes before ``max_tokens``."""
        prompt = Prompt()
        for message in texts(body, "messages"):
            prompt.add_message(message.get("content"), name=message.get("name"))
            prompt.add_json(message.get("tool_calls"))
        prompt.add_json(body.get("tools"))
        functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
        tools = [Tool(f["name"], f.get("parameters") or {}) for f in functions]
        return Call(
            model=model_name(body, deployment),
            prompt=prompt,
            max_tokens=positive(body, "max_completion_tokens", "max_tokens"),
            stream=bool(body.get("stream")),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            tools=tools,
            forced=self._forced(body.get("tool_choice"), tools),
            schema=self._schema(body.get("response_format") or {}),
            choices=positive(body, "n") or 1,
            body=body,
        )

    def _forced(self, choice: object, tools: list[Tool]) -> list[Tool]:
        if choice == "required":
            return tools[:1]
        if isinstance(choice, dict) and "function" in choice:
            return named(tools, choice["function"]["name"])
        return []

    def _schema(self, wanted: Json) -> Json | None:
        if wanted.get("type") == "json_schema":
            schema: Json = wanted["json_schema"].get("schema") or {}
            return schema
        return {} if wanted.get("type") == "json_object" else None

    def write(self, call: Call, answer: Answer) -> Json:
        """A ``chat.completion``."""
        message: Json = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
        if answer.calls:
            message["tool_calls"] = [self._called(answer, i, c) for i, c in enumerate(answer.calls)]
        choices = [
            {"index": i, "message": message, "logprobs": None, "finish_reason": self._finish(answer)}
            for i in range(call.choices)
        ]
        return {
            **self._head(call, answer, "chat.completion"),
            "choices": choices,
            "usage": self.usage(answer),
        }

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:
        """``chat.completion.chunk`` events; with ``include_usage`` a last one has the usage and no choice."""
        head = self._head(call, answer, "chat.completion.chunk")
        if call.include_usage:
            head["usage"] = None
        for index in range(call.choices):
            yield self._chunk(head, index, {"role": "assistant", "content": "" if answer.text else None})
            for part in pieces(answer.text or "", size):
                yield self._chunk(head, index, {"content": part}, tokens=count_tokens(part))
            for number, called in enumerate(answer.calls):
                first = {"index": number, **self._called(answer, number, called)}
                for delta, tokens in _call_deltas(first, called, size):
                    yield self._chunk(head, index, {"tool_calls": [delta]}, tokens=tokens)
            yield self._chunk(head, index, {}, finish=self._finish(answer))
        if call.include_usage:
            yield self._event({**head, "choices": [], "usage": self.usage(answer)})
        yield DONE

    def _chunk(
        self, head: Json, index: int, delta: Json, *, tokens: int = 0, finish: str | None = None
    ) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._event({**head, "choices": [choice]}, tokens)

    def _event(self, data: Json, tokens: int = 0) -> Event:
        return Event(b"data: " + json.dumps(data).encode() + b"\n\n", tokens)

    def _called(self, answer: Answer, number: int, called: Called) -> Json:
        function = {"name": called.name, "arguments": called.arguments}
        return {"id": f"call_{answer.ident:08d}_{number}", "type": "function", "function": function}

    def _finish(self, answer: Answer) -> str:
        if answer.calls:
            return "tool_calls"
        return "length" if answer.cut else "stop"

    def _head(self, call: Call, answer: Answer, kind: str) -> Json:
        ident = f"chatcmpl-{answer.ident:08d}"
        fixed = {"service_tier": "default", "system_fingerprint": "fp_ratekeeper"}
        return {"id": ident, "object": kind, "created": answer.created, "model": call.model, **fixed}

    def usage(self, answer: Answer) -> Json:
        """``prompt_tokens`` includes the cached ones, ``completion_tokens`` the reasoning ones."""
        usage = answer.usage
        return {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {
                "cached_tokens": usage.cached,
                "cache_write_tokens": usage.cache_write,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
