"""What the tests of LiteLLM share: a bound facade, and ways to call it on each kind of route."""

from __future__ import annotations

import litellm
import pytest

import ratekeeper as rk

MESSAGES = [{"role": "user", "content": "Say hello to everybody."}]
QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)


@pytest.fixture(autouse=True)
def _globals(monkeypatch):
    """LiteLLM's globals as a fresh import has them; it changes some of them itself."""
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    for name in ("num_retries", "model_fallbacks", "cache", "api_key", "api_base", "organization"):
        monkeypatch.setattr(litellm, name, None)


@pytest.fixture
def route(provider):
    """The arguments of a call on a route: through OpenAI's SDK, or LiteLLM's own HTTP handler in two dialects."""
    routes = {
        "openai": ("openai/gpt-4o-mini", provider.openai_url),
        "anthropic": ("anthropic/claude-haiku-4-5", provider.anthropic_url),
        "compatible": ("hosted_vllm/gpt-4o-mini", provider.openai_url),
    }

    def of(name, **more):
        model, url = routes[name]
        return {"model": model, "api_base": url, "api_key": "sk-test", "max_tokens": 64, **more}

    return of


@pytest.fixture
def deployment(route):
    """A deployment of a Router on a route."""
    return lambda group, name="openai", **more: {"model_name": group, "litellm_params": route(name, **more)}


async def gathered(stream):
    return [chunk async for chunk in stream]


@pytest.fixture
def forms(run):
    """The ways to ask a facade or a Router for an answer, by name; each gives text."""

    async def astream(llm, kwargs):
        return await gathered(await llm.acompletion(messages=MESSAGES, stream=True, **kwargs))

    def text(chunks):
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    return {
        "sync": lambda llm, **kwargs: llm.completion(messages=MESSAGES, **kwargs).choices[0].message.content,
        "async": lambda llm, **kwargs: (
            run(llm.acompletion(messages=MESSAGES, **kwargs)).choices[0].message.content
        ),
        "stream": lambda llm, **kwargs: text(llm.completion(messages=MESSAGES, stream=True, **kwargs)),
        "astream": lambda llm, **kwargs: text(run(astream(llm, kwargs))),
    }
