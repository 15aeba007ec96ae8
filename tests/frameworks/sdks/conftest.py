"""SDK clients on the fake provider, by the names of their classes."""

from __future__ import annotations

import anthropic
import openai
import pytest

MESSAGES = [{"role": "user", "content": "What is the tide?"}]
MODELS = {"openai": "gpt-4o-mini", "azure": "mini", "anthropic": "claude-haiku-4-5"}


@pytest.fixture
def sdk(provider):
    """Makes a client: `openai`, `azure` or `anthropic`, synchronous or not."""

    def make(family="openai", is_async=False, **settings):
        settings = {"api_key": "sk-test", **settings}
        if family == "azure":
            settings |= {"azure_endpoint": provider.azure_url, "api_version": "2025-03-01-preview"}
            return (openai.AsyncAzureOpenAI if is_async else openai.AzureOpenAI)(**settings)
        if family == "anthropic":
            settings["base_url"] = provider.anthropic_url
            return (anthropic.AsyncAnthropic if is_async else anthropic.Anthropic)(**settings)
        settings["base_url"] = provider.openai_url
        return (openai.AsyncOpenAI if is_async else openai.OpenAI)(**settings)

    return make


@pytest.fixture
def ask():
    """One call of a client of any family, plain or streamed; what it gives is the SDK's own."""

    def ask(client, family="openai", **settings):
        settings = {"model": MODELS[family], "messages": MESSAGES, **settings}
        if family == "anthropic":
            return client.messages.create(**{"max_tokens": 64, **settings})
        return client.chat.completions.create(**settings)

    return ask
