"""The usage in an answer's bytes, whole or streamed.

Owns the formats of answers: JSON, server-sent events, AWS event streams. Pure: no HTTP client, no waiting.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from .usage import Usage, read_usage

#: Beyond this a body is not parsed as a whole: what is long are embeddings.
_LONG = 65_536
#: Bytes of a streamed body that are kept to find the usage in; the rest of a longer one is dropped from the front.
_KEPT = 1 << 20
_MARKS = (b'"usage"', b'"usageMetadata"')
#: What OpenAI and Bedrock write beside the usage.
_TIERS = ("service_tier", "serviceTier")
_NULL = (b'"usage":null', b'"usage": null')


def usage_of_body(content: bytes) -> Usage | None:
    """The usage of a whole answer; None if it carries none."""
    if len(content) <= _LONG:
        return _read(_loads(content))
    for mark in _MARKS:
        # Inside a JSON text the closing quote would be escaped.
        at = content.rfind(mark)
        if at >= 0:
            text = (
                content[at + len(mark) : at + len(mark) + _LONG].decode("utf-8", "replace").lstrip(": \r\n\t")
            )
            return _read({"usage": _first_value(text)})
    return None


class Stream:
    """Looks through a streamed answer for its usage, and hands its bytes on.

    Args:
        content_type: Of the answer.
        encoding: Its content-encoding; a compressed answer is handed on as it is.
        without_usage: Whether the event that carries nothing but usage is left out, since nobody but us asked
            for it.
    """

    __slots__ = ("_buffer", "_decoder", "_drops", "_is_after", "_is_events", "_told", "is_final")

    def __init__(self, content_type: str, encoding: str = "", *, without_usage: bool = False) -> None:
        self._buffer = b""
        self._told: dict[str, Any] = {}
        self._is_events = content_type.startswith("text/event-stream")
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in ("gzip", "deflate") else None
        self._drops = without_usage and not encoding and self._is_events
        #: Whether an event has just been left out.
        self._is_after = False
        #: Whether the usage is that of the end, and not what was known at the start.
        self.is_final = False

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to hand on for these."""
        plain = chunk if self._decoder is None else self._decoder.decompress(chunk)
        self._buffer += plain
        if not self._is_events:
            self._buffer = self._buffer[-_KEPT:]
            return chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        if not self._drops:
            for line in lines:
                self._look(line)
            return chunk
        return self._kept(lines)

    def end(self) -> bytes:
        """What was held back of an answer that ends in the middle of a line."""
        rest, self._buffer = self._buffer, b""
        if not self._is_events:
            self._see(_in_frames(rest) or _loads(rest))
            return b""
        self._look(rest)
        return rest if self._drops else b""

    @property
    def usage(self) -> Usage | None:
        """The usage told so far; None if none was."""
        return _read(self._told) if self._told else None

    def _kept(self, lines: list[bytes]) -> bytes:
        """The lines without the event of usage alone; its blank line goes with it."""
        kept = []
        for line in lines:
            if self._look(line):
                self._is_after = True
            elif self._is_after and not line.strip():
                self._is_after = False
            else:
                kept.append(line + b"\n")
        return b"".join(kept)

    def _look(self, line: bytes) -> bool:
        """Takes note of a line; whether it holds usage and no part of an answer."""
        if not line.startswith(b"data:") or not any(mark in line for mark in _MARKS):
            return False
        if any(null in line for null in _NULL) and line.count(b'"usage"') == 1:
            return False
        data = _loads(line[5:])
        self._see(data)
        return isinstance(data, Mapping) and data.get("choices") == [] and bool(data.get("usage"))

    def _see(self, data: Any) -> None:
        """Counts are told anew, so later ones win; Anthropic's end does not repeat what its start told."""
        if not isinstance(data, Mapping):
            return
        for holder, is_final in ((data, True), (data.get("response"), True), (data.get("message"), False)):
            usage = _usage_in(holder)
            if usage and holder:
                self._told |= {name: value for name, value in usage.items() if value is not None}
                self._told |= {name: holder[name] for name in _TIERS if holder.get(name)}
                self.is_final = self.is_final or is_final


def _usage_in(holder: Any) -> Mapping[str, Any] | None:
    if not isinstance(holder, Mapping):
        return None
    usage = holder.get("usage") or holder.get("usageMetadata")
    return usage if isinstance(usage, Mapping) else None


def _read(data: Any) -> Usage | None:
    return read_usage(data) if isinstance(data, Mapping) else None


def _loads(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _first_value(text: str) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        return None


def _in_frames(content: bytes) -> Any:
    """The JSON of the last `metadata` frame of an AWS event stream."""
    at = content.rfind(b'"usage"')
    start = content.rfind(b"{", 0, at) if at >= 0 and content.lstrip()[:1] != b"{" else -1
    return None if start < 0 else _first_value(content[start : start + _LONG].decode("utf-8", "replace"))
