"""The headers of a model's answers, caught where the SDK client takes them in.

Owns the reading of headers from LangChain's results, and the ear in an SDK client. May not change a result, a chunk, or
a client that is not ours.

LangChain's own `include_response_headers` is no way: callbacks are handed each chunk before we are, and would
show the headers in traces and token streams; nor does it reach parsed streams. ChatAnthropic has none.
"""

from __future__ import annotations

from typing import Any

from langchain_core.outputs import ChatResult

from ratekeeper import ear


class Ear(ear.Ear):
    """Also reads the headers that a result carries, where no client was heard."""

    __slots__ = ()

    def read(self, item: Any) -> None:
        """Takes the headers that a result, a chunk or a protocol event carries, where no client was heard."""
        if not self.has_heard and (headers := told_by(item)):
            self.hear(headers)


def told_by(item: Any) -> Any:
    """The headers in the metadata of a `ChatResult`, a chunk or a protocol event; None where there are none.

    Integration packages that show them do so under "headers".
    """
    if isinstance(item, dict):
        return (item.get("metadata") or {}).get("headers")
    for generation in item.generations if isinstance(item, ChatResult) else (item,):
        message = getattr(generation, "message", None)
        for about in (
            getattr(generation, "generation_info", None),
            getattr(message, "response_metadata", None),
        ):
            if about and (headers := about.get("headers")):
                return headers
    return None


def listen(client: Any) -> Any:
    """Has an SDK client of ours tell the headers of each successful answer to who listens; returns it.

    OpenAI's and Anthropic's clients, synchronous or not, pass every response through one method, whether it is
    read at once, parsed, raw or streamed. A client without it is left as it is: nothing is heard then.
    """
    take = getattr(client, "_process_response", None)
    if take is None:
        return client

    def hear(*args: Any, **kwargs: Any) -> Any:
        listener, response = ear.listening(), kwargs.get("response")
        # With middleware, Anthropic's client passes refusals through here too.
        if listener is not None and getattr(response, "is_success", False):
            listener.hear(response.headers)  # type: ignore[union-attr]
        return take(*args, **kwargs)

    client._process_response = hear
    return client
