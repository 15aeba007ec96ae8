"""The fake provider as an ASGI application: which path is which vendor and format.

Owns the routes. Loaded only when a provider starts, since it imports Starlette.
"""

from __future__ import annotations

from starlette.applications import Starlette  # noqa: TID253
from starlette.requests import ClientDisconnect, Request  # noqa: TID253
from starlette.routing import BaseRoute, Route  # noqa: TID253
from starlette.types import Receive, Scope, Send  # noqa: TID253

from ratekeeper.testing.control import MODELS, control_routes
from ratekeeper.testing.exchange import Exchange
from ratekeeper.testing.line import Line
from ratekeeper.testing.state import State
from ratekeeper.testing.wire.anthropic import Anthropic
from ratekeeper.testing.wire.azure import Azure, AzureChat, AzureUnknown
from ratekeeper.testing.wire.bedrock import Bedrock
from ratekeeper.testing.wire.call import Format, Vendor
from ratekeeper.testing.wire.chat import Chat
from ratekeeper.testing.wire.converse import Converse
from ratekeeper.testing.wire.embed_content import EmbedContent
from ratekeeper.testing.wire.embeddings import Embeddings
from ratekeeper.testing.wire.gemini import Gemini
from ratekeeper.testing.wire.generate import Generate
from ratekeeper.testing.wire.groq import Groq
from ratekeeper.testing.wire.messages import Messages
from ratekeeper.testing.wire.mistral import Mistral
from ratekeeper.testing.wire.openai import OpenAI
from ratekeeper.testing.wire.responses import Responses

#: Gemini's methods of a model, each in a format of its own.
_GEMINI: dict[str, Format] = {
    "generateContent": Generate(),
    "streamGenerateContent": Generate(stream=True),
    "embedContent": EmbedContent(),
    "batchEmbedContents": EmbedContent(batch=True),
}


class Endpoint:
    """One path of one vendor, as an ASGI application: Starlette's wrapper of a function takes longer."""

    def __init__(self, state: State, vendor: Vendor, body_format: Format) -> None:
        self._state, self._vendor, self._format = state, vendor, body_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request and hand it to an exchange."""
        request = Request(scope, receive)
        try:
            raw = await request.body()
        except ClientDisconnect:
            return  # nobody is left to answer, and nothing was asked yet
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if query := scope["query_string"]:  # a key may stand there
            headers[":path"] = f"{scope['path']}?{query.decode('latin-1')}"
        exchange = Exchange(self._state, self._vendor, self._format, Line(receive, send), headers)
        await exchange.run(raw, scope["path_params"].get("deployment"))


def make_app(state: State) -> Starlette:
    """The application over a provider's state."""
    openai, azure, anthropic, groq, mistral = OpenAI(), Azure(), Anthropic(), Groq(), Mistral()
    azure_responses = AzureUnknown() if state.settings.azure_unknown else azure
    gemini, bedrock = Gemini(), Bedrock()
    chat, responses, embeddings = Chat(), Responses(), Embeddings()
    paths: list[tuple[str, Vendor, Format]] = [
        ("/v1/chat/completions", openai, chat),
        ("/v1/responses", openai, responses),
        ("/v1/messages", anthropic, Messages()),
        ("/v1/embeddings", openai, embeddings),
        ("/openai/deployments/{deployment}/chat/completions", azure, AzureChat()),
        ("/openai/deployments/{deployment}/embeddings", azure, embeddings),
        ("/openai/v1/chat/completions", azure, AzureChat()),
        ("/openai/v1/responses", azure_responses, responses),
        ("/openai/v1/embeddings", azure, embeddings),
        ("/openai/responses", azure_responses, responses),
        ("/groq/openai/v1/chat/completions", groq, chat),
        ("/groq/openai/v1/responses", groq, responses),
        ("/mistral/v1/chat/completions", mistral, chat),
        ("/models/chat/completions", azure, AzureChat()),
        ("/chat/completions", azure, AzureChat()),
        ("/models/embeddings", azure, embeddings),
        ("/model/{deployment:path}/converse", bedrock, Converse()),
        ("/model/{deployment:path}/converse-stream", bedrock, Converse(stream=True)),
        *((f"{MODELS}:{method}", gemini, own) for method, own in _GEMINI.items()),
    ]
    routes: list[BaseRoute] = [Route(p, Endpoint(state, v, f), methods=["POST"]) for p, v, f in paths]
    return Starlette(routes=[*routes, *control_routes(state)])
