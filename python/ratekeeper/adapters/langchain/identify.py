"""Whose quota a model's calls fall under, told from the model itself.

Owns the names under which integration packages keep model, key and address. May not keep an API key: only
its fingerprint leaves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ratekeeper.providers import account_of, get

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ratekeeper.providers import Provider

#: LangChain's names of providers, where ours differ.
_PROVIDERS = {"google_genai": "gemini", "mistralai": "mistral"}

_MODELS = ("model_name", "model", "model_id", "deployment_name", "endpoint_name", "repo_id")
_URLS = (
    "azure_endpoint",
    "openai_api_base",
    "anthropic_api_url",
    "groq_api_base",
    "api_base",
    "base_url",
    "endpoint_url",
    "endpoint",
)


class _Names(NamedTuple):
    """Which fields of one model class hold what."""

    model: tuple[str, ...]
    url: tuple[str, ...]
    key: tuple[str, ...]


@lru_cache(maxsize=256)
def _names(kind: type[BaseChatModel]) -> _Names:
    fields = kind.model_fields
    return _Names(
        tuple(name for name in _MODELS if name in fields),
        tuple(name for name in _URLS if name in fields),
        tuple(name for name in fields if name.endswith("api_key")),
    )


def provider_of(model: BaseChatModel) -> Provider:
    """The API a model calls, as it tells LangSmith; a class that tells nothing goes by its own name."""
    name = model._get_ls_params().get("ls_provider", "") or type(model).__name__.lower()
    return get(_PROVIDERS.get(name, name))


def model_of(model: BaseChatModel, kwargs: dict[str, Any]) -> str:
    """The name the quota goes by: Azure deployment, this very call's model, the object's, or its class."""
    deployment = getattr(model, "deployment_name", None)
    if deployment:
        return str(deployment)
    asked = kwargs.get("model")
    if isinstance(asked, str) and asked:
        return asked
    return _first(model, _names(type(model)).model) or type(model).__name__


def source_of(model: BaseChatModel) -> tuple[object, ...]:
    """The objects that decide the account; while they are the same ones, so is the account."""
    client = getattr(model, "root_client", None) or getattr(model, "root_async_client", None)
    if client is not None:
        return (client,)
    names = _names(type(model))
    values = model.__dict__
    return tuple(values.get(name) for name in (*names.key, *names.url))


def account_of_model(provider: Provider, model: BaseChatModel) -> str:
    """The account part of the scope: fingerprint of key and organisation, and a host of one's own.

    OpenAI's SDK client knows best what is really sent (environment variables included); other models are
    asked by field.
    """
    client = getattr(model, "root_client", None) or getattr(model, "root_async_client", None)
    if client is None:
        names = _names(type(model))
        return account_of(provider, api_key=_first(model, names.key), base_url=_first(model, names.url))
    owner = [getattr(client, name, None) for name in ("organization", "project")]
    return account_of(
        provider,
        api_key=_text(getattr(client, "api_key", None)) or _callable_key(model),
        base_url=_text(getattr(client, "base_url", None)),
        organization="/".join(part for part in owner if isinstance(part, str)),
    )


def _first(model: BaseChatModel, names: tuple[str, ...]) -> str:
    for name in names:
        text = _text(getattr(model, name, None))
        if text:
            return text
    return ""


def _text(value: Any) -> str:
    """A field's text; secrets are opened, for the fingerprint alone. Callables and test doubles have none."""
    secret = getattr(value, "get_secret_value", None)
    if secret is not None:
        value = secret()
    if isinstance(value, str):
        return value
    return str(value) if type(value).__name__ == "URL" else ""


def _callable_key(model: BaseChatModel) -> str:
    """A key that a function supplies call by call: the function's name stands for the account."""
    supply = getattr(model, "openai_api_key", None)
    if not callable(supply):
        return ""
    return f"{getattr(supply, '__module__', '')}.{getattr(supply, '__qualname__', type(supply).__name__)}"
