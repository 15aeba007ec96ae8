"""Gemini embeddings: bodies, of one content or of a batch.

Owns the format. The vectors are those of ``embeddings``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from ratekeeper.testing.usage import Prompt
from ratekeeper.testing.wire.call import Answer, Call, Event, Json
from ratekeeper.testing.wire.chat import model_name, positive, texts
from ratekeeper.testing.wire.embeddings import DIMENSIONS, vector
from ratekeeper.testing.wire.generate import read_parts


class EmbedContent:
    """``POST …/models/{model}:embedContent``, and ``:batchEmbedContents`` if a batch: one request too."""

    api = "gemini.embed"

    def __init__(self, *, batch: bool = False) -> None:
        self._batch = batch

    def read(self, body: Json, deployment: str | None) -> Call:
        """Tokens are those of the texts; nothing comes on top of them."""
        prompt = Prompt(overhead=0)
        for request in self._requests(body):
            prompt.add_message(list(read_parts(request["content"])))
            prompt.overhead = 0
        return Call(model=model_name(body, deployment), prompt=prompt, schema={}, choices=0, body=body)

    def write(self, call: Call, answer: Answer) -> Json:  # noqa: ARG002
        """``embedding``, or ``embeddings`` of a batch; without a usage, as Google sends none."""
        found = [{"values": _values(request)} for request in self._requests(call.body)]
        return {"embeddings": found} if self._batch else {"embedding": found[0]}

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:  # noqa: ARG002
        """None: embeddings are never streamed, and ``read`` never asks for it."""
        return iter(())

    def _requests(self, body: Json) -> list[Json]:
        return texts(body, "requests") if self._batch else [body]


def _values(request: Json) -> list[float]:
    size = positive(request, "outputDimensionality", "output_dimensionality")
    return vector(repr(request["content"]), size or DIMENSIONS)
