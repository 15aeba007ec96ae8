"""AutoGen's model clients, agents and teams on the fake provider."""

from __future__ import annotations

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat, SelectorGroupChat
from autogen_core.models import UserMessage
from autogen_ext.models.anthropic import AnthropicChatCompletionClient
from autogen_ext.models.openai import AzureOpenAIChatCompletionClient, OpenAIChatCompletionClient

from ratekeeper.testing import Reply

#: By the name that the provider answers with: AutoGen warns of any other.
MODEL = "gpt-4o-mini-2024-07-18"
INFO = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "structured_output": True,
    "family": "unknown",
}


def say(text="What is the tide?"):
    """The messages of one call."""
    return [UserMessage(content=text, source="user")]


@pytest.fixture
def keep(kept):
    """Keeps a client for the session: one that goes leaves its connections open, and open connections warn."""

    def keep(thing):
        kept.append(thing)
        return thing

    return keep


@pytest.fixture
def client(provider, keep):
    """Makes a client: `openai`, `azure` or `anthropic`."""

    def make(family="openai", **settings):
        return keep(build(family, settings))

    def build(family, settings):
        settings = {"api_key": "sk-test", **settings}
        if family == "azure":
            named = {
                "model": "mini",
                "azure_deployment": "mini",
                "azure_endpoint": provider.azure_url,
                "api_version": "2025-03-01-preview",
                "model_info": INFO,
            }
            return AzureOpenAIChatCompletionClient(**{**named, **settings})
        if family == "anthropic":
            named = {"model": "claude-haiku-4-5", "base_url": provider.anthropic_url, "max_tokens": 64}
            return AnthropicChatCompletionClient(**{**named, "model_info": INFO, **settings})
        return OpenAIChatCompletionClient(**{"model": MODEL, "base_url": provider.openai_url, **settings})

    return make


@pytest.fixture
def duo():
    """A team of two assistants that speak in turn: as many model calls as messages, but for the task."""

    def make(model_client, messages=5, **settings):
        agents = [AssistantAgent(name, model_client, **settings) for name in ("alice", "bob")]
        return RoundRobinGroupChat(agents, termination_condition=MaxMessageTermination(messages))

    return make


@pytest.fixture
def selected(provider):
    """A team whose manager asks the model who speaks next."""

    def make(model_client, messages=4):
        provider.script(Reply(text="bob", match="Read the above conversation", times=None))
        agents = [AssistantAgent(name, model_client, description=name) for name in ("alice", "bob", "carol")]
        ends = MaxMessageTermination(messages)
        return SelectorGroupChat(
            agents, model_client, termination_condition=ends, allow_repeated_speaker=True
        )

    return make
