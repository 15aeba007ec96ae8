"""What a model reads in a request body, in the form that estimates are made of.

Owns the places where each dialect keeps it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Characters that stand for a token that was sent as a number.
_TOKEN = "tokn"


def content_of(dialect: str, body: Mapping[str, Any]) -> object:
    """Messages, a text, or None: what the body of that dialect gives the model to read."""
    if dialect == "chat":
        return _messages(body.get("messages"))
    if dialect == "messages":
        return _with_system(body.get("system"), body.get("messages"))
    if dialect == "responses":
        return _with_system(body.get("instructions"), _responses(body.get("input")))
    if dialect == "gemini":
        return _gemini(body)
    if dialect == "converse":
        return _with_system(body.get("system"), body.get("messages"))
    return _plain(body.get("prompt") if dialect == "completions" else body.get("input"))


def _with_system(system: Any, messages: Any) -> object:
    rest = _messages(messages)
    return (
        rest
        if not isinstance(system, str | list) or not system
        else [{"role": "system", "content": system}, *rest]
    )


def _messages(given: Any) -> list[Any]:
    """What is no message is the provider's to refuse."""
    return [message for message in _list(given) if isinstance(message, Mapping | str)]


def _responses(given: Any) -> list[Any]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else _list(given)


def _gemini(body: Mapping[str, Any]) -> object:
    """Parts under the name of content; those that are text have the same field as everywhere."""
    turns = [body.get("systemInstruction") or body.get("system_instruction"), *_list(body.get("contents"))]
    requests = [
        request.get("content") for request in _list(body.get("requests")) if isinstance(request, Mapping)
    ]
    found = [turn for turn in (*turns, body.get("content"), *requests) if isinstance(turn, Mapping)]
    return [{"role": turn.get("role", "user"), "content": _list(turn.get("parts"))} for turn in found]


def _plain(given: Any) -> object:
    """Texts, or token numbers, alone or in lists."""
    if isinstance(given, str):
        return given
    texts = [part for part in _list(given) if isinstance(part, str)]
    numbers = [part for part in _list(given) if isinstance(part, int)]
    lists = [len(part) for part in _list(given) if isinstance(part, list)]
    return "\n".join(texts) + _TOKEN * (len(numbers) + sum(lists))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
