"""A request's size in characters, since that is what OpenAI and Azure estimate a prompt by.

Owns the walk over messages and tools. May not keep or change what it walks over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratekeeper._core import Estimator

_CHARACTERS_PER_TOKEN = 4
#: Content parts whose data is no text; their tokens come from the estimator.
_MEDIA = frozenset(
    {"image", "image_url", "input_image", "input_audio", "audio", "file", "input_file", "document", "video"}
)
#: Fields that hold more content; any other structure (arguments of tools) is read by the model as JSON.
_NESTED = frozenset({"content", "text", "output"})
#: Fields that steer the API and are not read by the model.
_STEERING = frozenset({"role", "type", "id", "tool_call_id", "tool_use_id", "call_id", "cache_control"})


def measure(content: object, tools: object, estimator: Estimator) -> int:
    """A quarter of the characters of messages and tools, rounded up, plus the estimated tokens of media."""
    media: list[Any] = []
    characters = _characters(content, media)
    if tools:
        characters += _json_length(tools)
    tokens = -(-characters // _CHARACTERS_PER_TOKEN)
    return tokens + estimator.count([{"role": "user", "content": media}]) if media else tokens


def _characters(content: Any, media: list[Any]) -> int:
    """The characters of a text, message, content part, or a list of them; media parts are put aside."""
    if isinstance(content, str | bytes | bytearray):
        return len(content)
    if isinstance(content, list | tuple):
        return sum([_characters(part, media) for part in content])
    if not isinstance(content, Mapping):
        return 0
    if content.get("type") in _MEDIA:
        media.append(content)
        return 0
    return sum([_field(name, value, media) for name, value in content.items() if name not in _STEERING])


def _field(name: str, value: Any, media: list[Any]) -> int:
    if isinstance(value, str):
        return len(value)
    if name in _NESTED:
        return _characters(value, media)
    return _json_length(value) if value and isinstance(value, Mapping | list | tuple) else 0


def _json_length(value: Any) -> int:
    import json  # noqa: PLC0415 (only where tools are used)

    return len(json.dumps(value, ensure_ascii=False, default=str))
