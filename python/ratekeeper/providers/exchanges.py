"""HTTP requests as calls of a model: whose API, whose account, what is asked.

Owns the paths and bodies of the known APIs. Pure: may not import an HTTP client, send anything, or keep a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from .account import account_of
from .base import Provider, Request
from .contents import content_of

#: What a path ends with → the dialect its body is written in. The first that fits counts.
_PATHS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), dialect)
    for pattern, dialect in (
        (r"/chat/completions/?$", "chat"),
        (r"/v\d+/responses/?$|/openai/responses/?$|/responses/?$", "responses"),
        (r"/embeddings/?$", "embeddings"),
        (r"/responses/compact/?$", "responses"),
        (r"^(?!.*/threads/).*/messages/?$", "messages"),
        (r"/models/(?P<model>[^/:]+):(?:streamR|r)awPredict$", "messages"),
        (r"/models/(?P<model>[^/:]+):(?:streamG|g)enerateContent$", "gemini"),
        (r"/models/(?P<model>[^/:]+):(?:batchE|e)mbedContents?$", "gemini"),
        (r"/model/(?P<model>[^/]+)/converse(?:-stream)?$", "converse"),
        (r"/model/(?P<model>[^/]+)/invoke(?:-with-response-stream)?$", "messages"),
        (r"/completions/?$|/v1/complete/?$", "completions"),
        (
            r"/(?:images/(?:generations|edits|variations)|audio/\w+|moderations|videos|ocr|interactions)/?$",
            "other",
        ),
        (r"/threads/(?:[^/]+/)?runs/?$|/threads/[^/]+/runs/[^/]+/submit_tool_outputs/?$", "other"),
        (r"/models/(?P<model>[^/:]+):predict$", "other"),
        (r"/v\d/(?:rerank|chat|embed)/?$|/api/(?:chat|generate|embed|embeddings)/?$", "other"),
    )
)
_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<model>[^/]+)/")
_OF_DIALECT = {"messages": "anthropic", "gemini": "gemini", "converse": "bedrock"}
#: Hosts that belong to an API as a whole; exact ones stand with their provider.
_DOMAINS = (
    (".openai.azure.com", "azure"),
    (".cognitiveservices.azure.com", "azure"),
    (".services.ai.azure.com", "azure"),
    (".models.ai.azure.com", "azure"),
    ("-aiplatform.googleapis.com", "gemini"),
)
_BEDROCK = re.compile(r"^bedrock-runtime[.-]")
_CEILINGS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens", "maxTokens")
_ANSWERS = ("n", "best_of", "candidateCount")
_SETTINGS = ("generationConfig", "inferenceConfig")
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)")
_FORM_MODEL = re.compile(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,200})\r\n')


class Asked(NamedTuple):
    """An HTTP request that asks a model.

    Attributes:
        provider: The name of the API.
        account: The account part of the scope.
        request: What is asked.
        body: The body as sent, where it is JSON.
        dialect: The form of the body.
    """

    provider: str
    account: str
    request: Request
    body: dict[str, Any] | None
    dialect: str

    @property
    def hides_usage(self) -> bool:
        """Whether the stream asked for tells its usage only to those who ask for that too."""
        if self.body is None or self.dialect not in ("chat", "completions") or not self.request.stream:
            return False
        options = self.body.get("stream_options")
        return not (isinstance(options, Mapping) and options.get("include_usage"))


def dialect_of(method: str, path: str) -> tuple[str, str] | None:
    """The dialect and the model that a path names ("" for none), or None for what asks no model."""
    if method != "POST":
        return None
    for pattern, dialect in _PATHS:
        found = pattern.search(path)
        if found is not None:
            deployment = found if "model" in found.groupdict() else _DEPLOYMENT.search(path)
            return dialect, unquote(deployment["model"]) if deployment else ""
    return None


def read_exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    content: bytes,
    *,
    providers: Mapping[str, Provider],
) -> Asked | None:
    """What a request asks of a model; None for what asks none (files, batches, lists of models, token counts).

    Args:
        method: In capitals.
        url: The whole address.
        headers: By name in lower case; the key that they hold leaves as its fingerprint only.
        content: The body.
        providers: The known ones by name.
    """
    host, path, query = _split(url)
    known = dialect_of(method, path)
    if known is None:
        return None
    dialect, model = known
    body = _json(content)
    name = _provider_of(host, path, dialect, providers)
    settings = body or {}
    request = Request(
        model or _text(settings.get("model")) or _form_model(content) or "unknown",
        content_of(dialect, settings),
        _tools(settings),
        0 if dialect == "embeddings" else _number(settings, _CEILINGS),
        max(_number(settings, (answers,)) or 1 for answers in _ANSWERS),
        stream=bool(settings.get("stream")) or "stream" in path.rsplit("/", 1)[-1],
    )
    owner = "/".join(headers[part] for part in ("openai-organization", "openai-project") if part in headers)
    account = account_of(
        providers.get(name) or Provider(), api_key=_key(headers, query), base_url=url, organization=owner
    )
    return Asked(name, account, request, body, dialect)


def _split(url: str) -> tuple[str, str, str]:
    rest, _, query = url.split("://", 1)[-1].partition("?")
    host, slash, path = rest.partition("/")
    return host.rsplit("@", 1)[-1].lower(), slash + path, query


def _provider_of(host: str, path: str, dialect: str, providers: Mapping[str, Provider]) -> str:
    """By host; where that is nobody's, by path, then by the dialect that is spoken there."""
    for provider in providers.values():
        if host in provider.default_hosts:
            return provider.name
    for domain, name in _DOMAINS:
        if host.split(":", 1)[0].endswith(domain):
            return name
    if _BEDROCK.match(host) or "/model/" in path:
        return "bedrock"
    return "azure" if "/openai/deployments/" in path else _OF_DIALECT.get(dialect, "openai")


def _key(headers: Mapping[str, str], query: str) -> str:
    for name in ("x-api-key", "api-key", "x-goog-api-key"):
        if headers.get(name):
            return headers[name]
    authorization = headers.get("authorization") or ""
    signed = _CREDENTIAL.search(authorization)
    if signed is not None:
        return signed[1]
    if authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return next((part[4:] for part in query.split("&") if part.startswith("key=")), "")


def _json(content: bytes) -> dict[str, Any] | None:
    if content.lstrip()[:1] != b"{":
        return None
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _form_model(content: bytes) -> str:
    """The model of an upload, whose body is a form."""
    found = _FORM_MODEL.search(content[:65_536]) or _FORM_MODEL.search(content[-65_536:])
    return "" if found is None else found[1].decode("utf-8", "replace")


def _tools(settings: Mapping[str, Any]) -> list[Any] | None:
    """Tool schemas, wherever they stand; what is none is the provider's to refuse."""
    config = settings.get("toolConfig")
    inner = config.get("tools") if isinstance(config, Mapping) else None
    for found in (settings.get("tools"), settings.get("functions"), inner):
        if isinstance(found, list) and found:
            return [tool for tool in found if isinstance(tool, Mapping)] or None
    return None


def _number(settings: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first positive whole number under one of these names, at the top or among the settings."""
    found = _whole(settings, names)
    for name in _SETTINGS:
        if found is not None:
            break
        if name in settings and isinstance(settings[name], Mapping):
            found = _whole(settings[name], names)
    return found


def _whole(source: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        if name in source:
            value = source[name]
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
