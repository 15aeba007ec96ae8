"""The least JSON value that a JSON Schema allows.

Owns the choice of that value, so that forced tool calls and structured outputs parse. It covers what
structured outputs of the vendors allow; a ``pattern`` is not solved. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}
_DEEP = 6


def minimal(schema: Schema) -> Any:
    """A value valid for ``schema``, as small as can be had without searching.

    Recursive schemas end at the first alternative that ends them.

    Raises:
        RecursionError: The schema requires itself for ever.
    """
    return _value(schema, schema, 0)


def _value(schema: Any, root: Schema, depth: int) -> Any:
    if not isinstance(schema, Mapping):  # `true`, or nothing said
        return {}
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), root, depth + 1)
    named = [schema[word] for word in ("const", "default") if word in schema] or schema.get("enum")
    if named:
        return named[0]
    if "allOf" in schema:
        return _value(_merged(schema, root), root, depth + 1)
    options = schema.get("anyOf") or schema.get("oneOf")
    return _value(_shallow(options, depth), root, depth + 1) if options else _typed(schema, root, depth)


def _resolve(ref: str, root: Schema) -> Any:
    found: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def _merged(schema: Schema, root: Schema) -> dict[str, Any]:
    merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
    for part in schema["allOf"]:
        one = _resolve(part["$ref"], root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **one.get("properties", {})}
        required = [*merged.get("required", []), *one.get("required", [])]
        merged = {**merged, **one, "properties": properties, "required": required}
    if not merged["properties"]:
        del merged["properties"], merged["required"]
    return merged


def _shallow(options: list[Any], depth: int) -> Any:
    """The first option, or deep down the one that ends soonest."""
    if depth < _DEEP:
        return options[0]
    return min(options, key=lambda o: (isinstance(o, Mapping) and "$ref" in o, "object" in str(o)))


def _typed(schema: Schema, root: Schema, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = "null" if "null" in kind and depth >= _DEEP else kind[0]
    if kind == "object" or kind is None:
        properties = schema.get("properties", {})
        return {
            name: _value(properties.get(name, {}), root, depth + 1) for name in schema.get("required", ())
        }
    if kind == "array":
        first = schema.get("prefixItems", [])
        count = max(len(first), schema.get("minItems", 0))
        items = [*first, *[schema.get("items", {})] * (count - len(first))]
        return [_value(item, root, depth + 1) for item in items]
    if kind == "string":
        return _string(schema)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return False if kind == "boolean" else None


def _string(schema: Schema) -> str:
    text = _FORMATS.get(schema.get("format", ""), "text")
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _number(schema: Schema, *, whole: bool) -> float:
    step = schema.get("multipleOf", 1 if whole else 0)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    value: float = 0 if low <= 0 <= high else low if low > 0 else high
    if step:
        value = (math.ceil(value / step) if value == low else math.floor(value / step)) * step
    shut = {schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")}
    if value in shut:
        nudge = step or (min(1.0, (high - low) / 2) if math.isfinite(high - low) else 1.0)
        value += nudge if value <= low else -nudge
    return value
