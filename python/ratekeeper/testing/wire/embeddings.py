"""OpenAI embeddings: bodies.

Owns the format, with vectors that depend on the text alone. Pure.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Iterator

from ratekeeper.testing.usage import Prompt
from ratekeeper.testing.wire.call import Answer, BadRequestError, Call, Event, Json
from ratekeeper.testing.wire.chat import model_name, positive

#: Of a vector, where the request does not say.
DIMENSIONS = 16


class Embeddings:
    """``POST /embeddings``; one input or many, as text or as token numbers."""

    api = "openai.embeddings"

    def read(self, body: Json, deployment: str | None) -> Call:
        """Tokens are those of the texts, or the numbers given; nothing comes on top of them."""
        prompt = Prompt(overhead=0)
        for one in _inputs(body):
            prompt.add_message(one if isinstance(one, str) else "four" * len(one))
            prompt.overhead = 0
        return Call(model=model_name(body, deployment), prompt=prompt, schema={}, choices=0, body=body)

    def write(self, call: Call, answer: Answer) -> Json:
        """A list of embeddings as floats, or in base64 if asked, as the SDK does."""
        size = positive(call.body, "dimensions") or DIMENSIONS
        packed = call.body.get("encoding_format") == "base64"
        vectors = (vector(repr(one), size) for one in _inputs(call.body))
        data = [
            {"object": "embedding", "index": i, "embedding": _pack(values) if packed else values}
            for i, values in enumerate(vectors)
        ]
        usage = {"prompt_tokens": answer.usage.input, "total_tokens": answer.usage.input}
        return {"object": "list", "data": data, "model": call.model, "usage": usage}

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:  # noqa: ARG002
        """None: embeddings are never streamed, and ``read`` never asks for it."""
        return iter(())


def _inputs(body: Json) -> list[str | list[int]]:
    value = body.get("input")
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise BadRequestError("Invalid 'input': a string or a non-empty array expected.")
    return [value] if isinstance(value[0], int) else value


def vector(text: str, size: int) -> list[float]:
    """A vector of length 1 that depends on the text alone."""
    rng = random.Random(zlib.crc32(text.encode()))
    values = [rng.gauss(0, 1) for _ in range(size)]
    norm = sum(value * value for value in values) ** 0.5
    return [value / norm for value in values]


def _pack(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
