"""What LiteLLM does only beside a newer mcp than CrewAI allows, and its proxy extra: its Responses API, and its cache.

LiteLLM 1.106 imports both where it does not say so; in an environment without them its own calls fail alike.
"""

from __future__ import annotations

import litellm
import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault

QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
MESSAGES = [{"role": "user", "content": "Say hello to everybody."}]


@pytest.fixture
def routes(provider):
    """The arguments of a call: natively, over chat completions of OpenAI's kind, and over Anthropic's messages."""
    return {
        "openai": {"model": "openai/gpt-4o-mini", "api_base": provider.openai_url, "api_key": "sk-test"},
        "compatible": {
            "model": "hosted_vllm/gpt-4o-mini",
            "api_base": provider.openai_url,
            "api_key": "sk-test",
        },
        "anthropic": {
            "model": "anthropic/claude-haiku-4-5",
            "api_base": provider.anthropic_url,
            "api_key": "sk-test",
        },
    }


every_route = pytest.mark.parametrize("name", ["openai", "compatible", "anthropic"])


@every_route
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_responses_are_gated_in_every_form(name, routes, run, books):
    llm = books.keeper().litellm()
    asked = {**routes[name], "input": "Say hello."}

    async def twin():
        return [event async for event in await llm.aresponses(stream=True, **asked)]

    assert llm.responses(**asked).output
    assert run(llm.aresponses(**asked)).output
    for events in (list(llm.responses(stream=True, **asked)), run(twin())):
        assert events[-1].type == "response.completed"
    books.agree_in_tokens(4)


@every_route
def test_they_are_sent_as_often_as_our_policy_says(name, routes, run, books, monkeypatch):
    monkeypatch.setattr(litellm, "num_retries", 3)
    books.provider.set_faults(Fault(kind="server_error"))
    llm = books.keeper(retry=QUICK).litellm()
    asked = {**routes[name], "input": "Say hello.", "num_retries": 2, "max_retries": 2}
    with pytest.raises(litellm.InternalServerError):
        llm.responses(**asked)
    with pytest.raises(litellm.InternalServerError):
        run(llm.aresponses(**asked))
    assert books.agree(6).statuses == {500: 6}


def test_those_of_a_router_are_too(routes, run, books):
    router = litellm.Router(model_list=[{"model_name": "a", "litellm_params": routes["openai"]}])
    llm = books.keeper().wrap(router)
    assert run(llm.aresponses(model="a", input="Say hello.")).output
    assert llm.responses(model="a", input="Say hello.").output
    router.discard()
    books.agree_in_tokens(2)


@pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning")
def test_an_answer_from_litellms_cache_gives_its_lease_back(routes, run, books, monkeypatch):
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
    llm = books.keeper().litellm()
    first = llm.completion(messages=MESSAGES, caching=True, **routes["openai"])
    again = llm.completion(messages=MESSAGES, caching=True, **routes["openai"])
    more = run(llm.acompletion(messages=MESSAGES, caching=True, **routes["openai"]))
    assert first.id == again.id == more.id
    stream = llm.completion(messages=MESSAGES, caching=True, stream=True, **routes["openai"])
    assert list(stream)
    assert books.provider.report().requests <= 2
    assert [event.usage is None for event in books.of("settled")][:3] == [False, True, True]
    books.nothing_is_held()
