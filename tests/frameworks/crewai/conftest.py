"""CrewAI's LLMs of every provider on the fake one, and the smallest crews that use them."""

from __future__ import annotations

import warnings

import pytest
from pydantic import BaseModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from crewai import LLM, Agent, Crew, Task
    from crewai.tools import tool
    from google.genai import types

BEDROCK = {
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "secret",
    "region_name": "eu-central-1",
}


async def _close(llm):
    """What CrewAI leaves open: a wrapped LLM shares it with the original."""
    if getattr(llm, "_async_exit_stack", None) is not None:
        await llm._async_exit_stack.aclose()
    if hasattr(llm, "aclose"):
        await llm.aclose()


@pytest.fixture
def kept(kept):
    """What lives to the end of the session: an LLM that goes leaves its connections open."""
    return kept


@pytest.fixture
def llm(provider, monkeypatch, run, kept):
    """Makes a real CrewAI LLM, by the name of its way to the model."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", provider.bedrock_url)
    made = {
        "openai": {"model": "gpt-4o-mini", "base_url": provider.openai_url},
        "responses": {"model": "gpt-4o-mini", "base_url": provider.openai_url, "api": "responses"},
        "compatible": {"model": "deepseek/deepseek-chat", "base_url": provider.openai_url},
        "anthropic": {
            "model": "anthropic/claude-haiku-4-5",
            "base_url": provider.anthropic_url,
            "max_tokens": 256,
        },
        "gemini": {
            "model": "gemini/gemini-2.5-flash",
            "client_params": {"http_options": types.HttpOptions(base_url=provider.gemini_url)},
        },
        "azure": {"model": "azure/gpt-4o", "endpoint": provider.azure_inference_url},
        "deployment": {"model": "azure/mini", "endpoint": f"{provider.azure_url}/openai/deployments/mini"},
        "bedrock": {
            "model": "bedrock/anthropic.claude-sonnet-4-20250514-v1:0",
            "max_tokens": 256,
            **BEDROCK,
        },
        "litellm": {"model": "openai/gpt-4o-mini", "is_litellm": True, "base_url": provider.openai_url},
    }

    def make(kind="openai", **settings):
        named = {} if kind == "bedrock" else {"api_key": "sk-test"}
        kept.append(LLM(**{**named, **made[kind], **settings}))
        return kept[-1]

    before = len(kept)
    yield make
    for made_llm in kept[before:]:
        run(_close(made_llm))


class City(BaseModel):
    """What a structured answer holds."""

    name: str


@pytest.fixture
def city():
    """A model of structured answers."""
    return City


@pytest.fixture
def agent():
    """Makes an agent that says little of itself."""

    def make(llm, role="researcher", **settings):
        return Agent(role=role, goal="Find out", backstory="Knows things", llm=llm, **settings)

    return make


@pytest.fixture
def crew(agent):
    """Makes a crew of one agent and one task, or of the agents and tasks given."""

    def make(llm, *, task=None, agents=None, tasks=None, **settings):
        agents = agents or [agent(llm)]
        tasks = tasks or [
            Task(description="Look at {topic}", expected_output="A line", agent=agents[0], **(task or {}))
        ]
        return Crew(agents=agents, tasks=tasks, name="crew", **settings)

    return make


@pytest.fixture
def adder():
    """A tool that adds."""

    @tool("adder")
    def adder(a: int, b: int) -> str:
        """Adds two numbers."""
        return str(a + b)

    return adder
