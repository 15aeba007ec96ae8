"""Models chosen per call (`init_chat_model`): limited whatever is chosen, bound or configured."""

from __future__ import annotations

import pickle

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.tools import tool

from ratekeeper import ConfigError, Quota
from ratekeeper.testing import Reply, ToolCall

KEY = {"api_key": "sk-test"}


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@pytest.fixture
def chosen(provider):
    """A configurable model without a default."""
    return init_chat_model(
        configurable_fields=("model", "model_provider", "base_url", "api_key"), config_prefix="llm"
    )


def config(provider, vendor="openai", model="gpt-4o-mini"):
    url = provider.openai_url if vendor == "openai" else provider.anthropic_url
    fields = {"model": model, "model_provider": vendor, "base_url": url, **KEY}
    return {"configurable": {f"llm_{name}": value for name, value in fields.items()}}


async def consume(stream):
    return [item async for item in stream]


def test_every_form_of_a_configurable_model_is_limited(chosen, provider, books, run):
    llm = books.keeper(Quota(concurrency=1)).wrap(chosen)
    assert isinstance(llm, type(chosen))
    here = config(provider)
    llm.invoke("a", here)
    run(llm.ainvoke("a", here))
    list(llm.stream("a", here))
    run(consume(llm.astream("a", here)))
    llm.batch(["a", "b"], here)
    run(llm.abatch(["a", "b"], [here, here]))
    run(consume(llm.astream_events("a", here)))
    books.agree_in_tokens(9)


def test_each_chosen_model_falls_under_its_own_quota(chosen, provider, books):
    llm = books.keeper().wrap(chosen)
    llm.invoke("a", config(provider))
    llm.invoke("a", config(provider, "anthropic", "claude-haiku-4-5"))
    books.agree_in_tokens(2)
    assert [event.scope.split("/")[0] for event in books.of("started")] == ["openai", "anthropic"]


def test_bound_tools_structured_output_and_configs_keep_the_limit(chosen, provider, books, run):
    call = ToolCall(name="weather", arguments={"city": "Oslo"})
    provider.script(Reply(tool_calls=[call], times=None))
    llm = books.keeper().wrap(chosen)
    here = config(provider)
    assert llm.bind_tools([weather]).invoke("a", here).tool_calls
    assert llm.with_config(here).bind_tools([weather]).with_config(tags=["x"]).invoke("a").tool_calls
    schema = {
        "title": "weather",
        "description": "Weather.",
        "type": "object",
        "properties": {"city": {"type": "string"}},
    }
    structured = llm.with_structured_output(schema, method="function_calling")
    assert run(structured.with_config(here).ainvoke("a")) == {"city": "Oslo"}
    run(llm.with_config(here).with_retry().ainvoke("a"))
    books.agree_in_tokens(4)


def test_a_default_model_tells_its_attributes(provider, books):
    model = init_chat_model(
        "gpt-4o-mini", model_provider="openai", configurable_fields="any", base_url=provider.openai_url, **KEY
    )
    llm = books.keeper().wrap(model)
    assert llm.model_name == "gpt-4o-mini"
    llm.invoke("a", {"configurable": {"model": "gpt-4o"}})
    books.agree_in_tokens(1)
    assert books.of("started")[0].model == "gpt-4o"
    with pytest.raises(AttributeError):
        llm.no_such_attribute  # noqa: B018


def test_the_original_is_not_limited(chosen, provider, books):
    books.keeper().wrap(chosen)
    chosen.invoke("a", config(provider))
    assert provider.report().requests == 1
    assert books.events == []


def test_wrapping_twice_counts_once_and_a_second_keeper_is_refused(chosen, provider, books):
    keeper = books.keeper()
    llm = keeper.wrap(keeper.wrap(chosen))
    llm.invoke("a", config(provider))
    books.agree_in_tokens(1)
    with pytest.raises(ConfigError, match="another Keeper"):
        books.keeper().wrap(llm)


def test_it_pickles_as_its_base_does(chosen, provider, books):
    llm = books.keeper().wrap(
        chosen.bind_tools([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    )
    there = pickle.loads(pickle.dumps(llm))
    assert type(there) is type(llm)
    there.invoke("a", config(provider))
    books.agree_in_tokens(1)


def test_what_init_chat_model_makes_at_once_is_an_ordinary_model(provider, books):
    model = init_chat_model("anthropic:claude-haiku-4-5", base_url=provider.anthropic_url, **KEY)
    books.keeper().wrap(model).invoke("a")
    books.agree_in_tokens(1)
