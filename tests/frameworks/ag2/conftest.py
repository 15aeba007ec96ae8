"""ag2's configs and agents on the fake provider."""

from __future__ import annotations

import httpx2
import pytest
from ag2 import Agent
from ag2.config import AnthropicConfig, OpenAIConfig, OpenAIResponsesConfig


def agent(config, name="alice", **settings):
    """An agent."""
    return Agent(name, "Answer in one word.", config=config, **settings)


@pytest.fixture
def config(provider, run):
    """Makes a config: `openai`, `responses` or `anthropic`, on one HTTP client that is closed at the end."""
    http_client = httpx2.AsyncClient()

    def make(family="openai", **settings):
        settings = {"api_key": "sk-test", "http_client": http_client, **settings}
        if family == "anthropic":
            named = {"model": "claude-haiku-4-5", "base_url": provider.anthropic_url, "max_tokens": 64}
            return AnthropicConfig(**{**named, **settings})
        named = {"model": "gpt-4o-mini", "base_url": provider.openai_url}
        kind = OpenAIResponsesConfig if family == "responses" else OpenAIConfig
        return kind(**{**named, **settings})

    yield make
    run(http_client.aclose())
