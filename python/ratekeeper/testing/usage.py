"""Tokens: how the fake provider counts a prompt and how long its answers are.

Owns one stated rule, so that a test can compute what the server will report: a text has
``ceil(characters / 4)`` tokens; a prompt has that of all its texts together, plus 3 a message, 1 a named
message, 3 for the reply, 85 an image, and ``ceil(len(json) / 4)`` for its tool definitions. May not hold state.
"""

from __future__ import annotations

import json
import math
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PER_MESSAGE, PER_NAME, PER_REPLY, PER_IMAGE = 3, 1, 3, 85

_WORDS = (
    "the quota refills while a call waits its turn and every answer is counted once so that nobody is "
    "refused who could have been served in time by a keeper that knows what is left of each window "
)
_IMAGES = ("image", "image_url", "input_image")


def count_tokens(text: str) -> int:
    """Tokens of a text: a quarter of its characters (Unicode code points), rounded up."""
    return -(-len(text) // 4)


def make_text(tokens: int) -> str:
    """A text of exactly so many tokens, always the same one."""
    length = 4 * tokens
    return (_WORDS * (length // len(_WORDS) + 1))[:length]


@dataclass
class Prompt:
    """What was read of a request's messages.

    Attributes:
        chars: Characters of all texts, tool definitions included.
        overhead: Tokens on top: messages, names, images.
        last: The last message's text.
        digest: A checksum of all texts, from which the answer's length is drawn.
    """

    chars: int = 0
    overhead: int = PER_REPLY
    last: str = ""
    digest: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of the prompt."""
        return -(-self.chars // 4) + self.overhead

    @property
    def estimate(self) -> int:
        """Tokens by the count of characters alone, as providers estimate them before a call."""
        return max(1, -(-self.chars // 4))

    def add_message(self, content: object, *, name: str | None = None) -> None:
        """Count one message."""
        self.overhead += PER_MESSAGE + (PER_NAME if name else 0)
        self.last = "".join(self._take(content))

    def add_json(self, value: object) -> None:
        """Count a JSON value as the text it is written as."""
        if value:
            self._text(json.dumps(value))

    def _take(self, content: object) -> Iterable[str]:
        """Count a content of any vendor's form and yield its texts."""
        if isinstance(content, str):
            self._text(content)
            yield content
        elif isinstance(content, list):
            for part in content:
                yield from self._take(part)
        elif isinstance(content, dict):
            yield from self._part(content)

    def _part(self, part: dict[str, Any]) -> Iterable[str]:
        if part.get("type") in _IMAGES:
            self.overhead += PER_IMAGE
        elif part.get("type") == "tool_use":
            self.add_json(part.get("input"))
        else:
            yield from self._take(part.get("text") or part.get("content") or part.get("output"))

    def _text(self, text: str) -> None:
        self.chars += len(text)
        self.digest = zlib.crc32(text.encode("utf-8", "surrogatepass"), self.digest)


@dataclass
class Usage:
    """What one answer used.

    Attributes:
        input: Input tokens, the cached ones included.
        cached: Of these, read from the cache.
        cache_write: Of these, written to the cache.
        output: Output tokens, reasoning included.
        reasoning: Of these, reasoning.
    """

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


def draw_length(median: int, sigma: float, rng: random.Random) -> int:
    """The length of an answer in tokens, log-normal about its median."""
    if not sigma:
        return median
    return max(1, round(median * math.exp(rng.gauss(0.0, sigma))))
