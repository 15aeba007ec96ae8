"""Whose quota a LiteLLM call falls under, and what it asks: told from the call's arguments.

Owns LiteLLM's names of providers, keys and addresses. May not keep an API key: only its fingerprint leaves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import litellm

from ratekeeper import runs
from ratekeeper.providers import Provider, Request, account_of, get
from ratekeeper.providers.contents import content_of

#: LiteLLM's names of providers, where ours differ. A server of one's own that speaks OpenAI's API is told apart by its
#: address, as under an HTTP client.
_PROVIDERS = {
    "anthropic_text": "anthropic",
    "azure_text": "azure",
    "bedrock_converse": "bedrock",
    "codestral": "mistral",
    "custom_openai": "openai",
    "hosted_vllm": "openai",
    "litellm_proxy": "openai",
    "llamafile": "openai",
    "lm_studio": "openai",
    "openai_like": "openai",
    "text-completion-codestral": "mistral",
    "text-completion-openai": "openai",
    "vertex_ai": "gemini",
    "vertex_ai_beta": "gemini",
}
#: Where LiteLLM finds a key and an address if the call names none: its globals, then the environment.
_KEYS = {
    "openai": (("api_key", "openai_key"), ("OPENAI_API_KEY",)),
    "azure": (("api_key", "azure_key"), ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")),
    "anthropic": (("anthropic_key", "api_key"), ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
    "gemini": (("gemini_key", "api_key"), ("GOOGLE_API_KEY", "GEMINI_API_KEY")),
    "groq": (("groq_key", "api_key"), ("GROQ_API_KEY",)),
    "bedrock": ((), ("AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK")),
}
_URLS = {
    "openai": (("api_base",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "azure": (("api_base",), ("AZURE_API_BASE",)),
    "anthropic": (("api_base",), ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")),
    "gemini": (("api_base",), ("GEMINI_API_BASE",)),
}
_REGIONS = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
_CEILINGS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
#: The arguments that say what is asked → the dialect in which they say it.
_DIALECTS = (("messages", "chat"), ("prompt", "completions"), ("input", "responses"))
_PREFIX = "responses/"


class Asked(NamedTuple):
    """Whose quota a call falls under, and what it asks.

    Attributes:
        provider: The name of the API, ours.
        account: The account part of the scope.
        request: What is asked.
    """

    provider: str
    account: str
    request: Request


def read_call(given: Mapping[str, Any], *, embeds: bool = False) -> Asked:
    """What the arguments of one of LiteLLM's functions say.

    Args:
        given: All arguments, by name.
        embeds: Whether it asks for vectors, which are no tokens.

    Raises:
        litellm.BadRequestError: LiteLLM does not know the provider either; it would say the same.
    """
    model, name, key, url = _resolve(given)
    provider = get(_PROVIDERS.get(name, name))
    account = _account(provider, key, url, given)
    request = Request(
        model.removeprefix(_PREFIX),
        _content(given, embeds=embeds),
        given.get("tools") or given.get("functions"),
        0 if embeds else _number(given, _CEILINGS),
        max(_number(given, (answers,)) or 1 for answers in ("n", "best_of")),
        stream=bool(given.get("stream")),
        run=runs.current(),
    )
    return Asked(provider.name, account, request)


def _resolve(given: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Model, LiteLLM's name of the provider, key and address, as LiteLLM finds them itself."""
    model = given.get("model") or given.get("engine") or ""
    model = (litellm.model_alias_map or {}).get(model, model)
    deployment, name = given.get("deployment_id"), given.get("custom_llm_provider")
    if deployment is not None or given.get("azure") is True:
        model, name = deployment or model, "azure"
    key, url = given.get("api_key"), given.get("base_url") or given.get("api_base")
    model, name, resolved_key, resolved_url = litellm.get_llm_provider(
        model, custom_llm_provider=name, api_base=url, api_key=key
    )
    return model, name, _text(resolved_key) or _text(key), _text(resolved_url) or _text(url)


def _account(provider: Provider, key: str, url: str, given: Mapping[str, Any]) -> str:
    client = given.get("client")
    name = provider.name
    owner: tuple[Any, ...] = ()
    if name == "openai":
        organization = (
            given.get("organization") or litellm.organization or os.environ.get("OPENAI_ORGANIZATION")
        )
        owner = (organization or os.environ.get("OPENAI_ORG_ID"), os.environ.get("OPENAI_PROJECT_ID"))
    if name == "bedrock":
        key, url = key or _text(given.get("aws_access_key_id")), url or _bedrock_host(given)
    elif client is not None and hasattr(client, "base_url"):
        key, url = _text(getattr(client, "api_key", None)), str(client.base_url)
        owner = (getattr(client, "organization", None), getattr(client, "project", None))
    return account_of(
        provider,
        api_key=key or _found(_KEYS.get(name)),
        base_url=url or _found(_URLS.get(name)),
        organization="/".join(part for part in owner if isinstance(part, str) and part),
    )


def _bedrock_host(given: Mapping[str, Any]) -> str:
    region = given.get("aws_region_name") or next(filter(None, map(os.environ.get, _REGIONS)), "")
    return f"bedrock-runtime.{region}.amazonaws.com" if region else ""


def _found(places: tuple[tuple[str, ...], tuple[str, ...]] | None) -> str:
    if places is None:
        return ""
    for name in places[0]:
        if text := _text(getattr(litellm, name, None)):
            return text
    return next(filter(None, map(os.environ.get, places[1])), "")


def _content(given: Mapping[str, Any], *, embeds: bool) -> object:
    for name, dialect in _DIALECTS:
        if given.get(name) is not None:
            found = {**given, name: _plain(given[name])}
            return content_of("embeddings" if embeds else dialect, found)
    return [given.get("query"), *(given.get("documents") or ())] if "query" in given else None


def _plain(value: Any) -> Any:
    """Messages may be LiteLLM's own objects, as a model returned them."""
    if not isinstance(value, list):
        return value
    return [item.model_dump() if hasattr(item, "model_dump") else item for item in value]


def _number(given: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
