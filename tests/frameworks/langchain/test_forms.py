"""Every way to call a wrapped model: one request, one lease, one settlement, the provider's own tokens."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from ratekeeper.testing import Reply, ToolCall

KINDS = ["chat", "responses", "azure", "azure-responses", "anthropic"]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_openai_kind = pytest.mark.parametrize("kind", KINDS[:-1])

#: LangChain says of its own v3 events that they are a beta.
beta = pytest.mark.filterwarnings("ignore:.*beta:langchain_core._api.LangChainBetaWarning")


class Weather(BaseModel):
    """The weather somewhere."""

    city: str
    degrees: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


async def consume(stream):
    return [item async for item in stream]


@pytest.fixture
def llm(kind, make, books):
    return books.keeper().wrap(make(kind))


@every_kind
def test_an_invoke_is_one_request_settled_with_its_tokens(llm, books):
    assert llm.invoke("hello").content
    books.agree_in_tokens(1)


@every_kind
def test_an_ainvoke_is_one_request_settled_with_its_tokens(llm, books, run):
    assert run(llm.ainvoke("hello")).content
    books.agree_in_tokens(1)


@every_kind
def test_a_stream_is_one_request_settled_with_its_tokens(llm, books):
    assert len(list(llm.stream("hello"))) > 1
    books.agree_in_tokens(1)


@every_kind
def test_an_astream_is_one_request_settled_with_its_tokens(llm, books, run):
    assert len(run(consume(llm.astream("hello")))) > 1
    books.agree_in_tokens(1)


@every_kind
def test_a_batch_is_as_many_requests_as_inputs(llm, books):
    assert len(llm.batch(["a", "bb", "ccc"])) == 3
    assert len(list(llm.batch_as_completed(["a", "bb"]))) == 2
    books.agree_in_tokens(5)


@every_kind
def test_an_abatch_is_as_many_requests_as_inputs(llm, books, run):
    assert len(run(llm.abatch(["a", "bb", "ccc"]))) == 3
    assert len(run(consume(llm.abatch_as_completed(["a", "bb"])))) == 2
    books.agree_in_tokens(5)


@every_kind
def test_v2_events_are_one_request(llm, books, run):
    events = run(consume(llm.astream_events("hello", version="v2")))
    assert [event["event"] for event in events].count("on_chat_model_stream") > 1
    books.agree_in_tokens(1)


@beta
@every_kind
def test_v3_events_are_one_request(llm, books, run):
    async def text():
        stream = await llm.astream_events("hello", version="v3")
        return await stream.text

    assert llm.stream_events("hello", version="v3").output.text
    assert run(text())
    books.agree_in_tokens(2)


@every_kind
def test_bound_tools_keep_the_limit(llm, books, run, provider):
    provider.script(Reply(tool_calls=[ToolCall(name="weather", arguments={"city": "Oslo"})], times=4))
    bound = llm.bind_tools([weather])
    answers = [bound.invoke("weather?"), run(bound.ainvoke("weather?"))]
    assert [answer.tool_calls[0]["args"] for answer in answers] == [{"city": "Oslo"}] * 2
    list(bound.stream("weather?"))
    run(consume(bound.astream("weather?")))
    books.agree_in_tokens(4)


# langchain_openai serialises the parsed object into a field that openai types as None.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@every_kind
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_structured_output_keeps_the_limit(llm, books, run, provider, method):
    if method == "json_schema":
        provider.script(Reply(text='{"city": "Oslo", "degrees": 7}', times=4))
    else:
        call = ToolCall(name="Weather", arguments={"city": "Oslo", "degrees": 7})
        provider.script(Reply(tool_calls=[call], times=4))
    structured = llm.with_structured_output(Weather, method=method)
    expected = Weather(city="Oslo", degrees=7)
    assert structured.invoke("weather?") == expected
    assert run(structured.ainvoke("weather?")) == expected
    assert list(structured.stream("weather?"))[-1] == expected
    assert run(consume(structured.astream("weather?")))[-1] == expected
    books.agree_in_tokens(4)


def ask_in_every_form(llm, run):
    llm.invoke("hello")
    run(llm.ainvoke("hello"))
    list(llm.stream("hello"))
    run(consume(llm.astream("hello")))


@every_kind
def test_cached_tokens_are_settled_as_counted(llm, books, run, provider):
    provider.script(Reply(input_tokens=900, cached_tokens=512, tokens=5, times=4))
    ask_in_every_form(llm, run)
    assert books.agree_in_tokens(4).input_tokens == 4 * 900
    assert {usage.cache_read_tokens for usage in books.usages} == {512}


@every_openai_kind
def test_reasoning_tokens_are_settled_as_counted(llm, books, run, provider):
    provider.script(Reply(reasoning_tokens=20, tokens=5, times=4))
    ask_in_every_form(llm, run)
    books.agree_in_tokens(4)
    assert {usage.reasoning_tokens for usage in books.usages} == {20}


def test_several_answers_are_counted_once(make, books):
    llm = books.keeper().wrap(make("chat", n=3, max_tokens=100))
    assert len(llm.generate([[HumanMessage("hello")]]).generations[0]) == 3
    books.agree_in_tokens(1)


def test_an_answer_from_langchains_cache_reserves_nothing(make, books, run):
    from langchain_core.caches import InMemoryCache

    llm = books.keeper().wrap(make("chat", cache=InMemoryCache()))
    first = llm.invoke("hello")
    assert llm.invoke("hello").content == first.content
    assert run(llm.ainvoke("hello")).content == first.content
    books.agree_in_tokens(1)


@every_kind
def test_a_ceiling_of_the_call_wins_over_the_models(kind, make, books):
    llm = books.keeper().wrap(make(kind, max_tokens=300))
    llm.invoke("hello", max_tokens=30)
    llm.bind(max_tokens=40).invoke("hello")
    llm.invoke("hello")
    ceilings = [event.amounts.output_tokens for event in books.of("started")]
    assert [ceiling <= most for ceiling, most in zip(ceilings, (30, 40, 300), strict=True)] == [True] * 3
    books.agree_in_tokens(3)


def test_a_model_named_in_the_call_falls_under_its_own_quota(make, books):
    llm = books.keeper().wrap(make("chat"))
    llm.invoke("hello")
    llm.invoke("hello", model="gpt-4o")
    assert [event.scope.rsplit("/", 1)[1] for event in books.of("started")] == ["gpt-4o-mini", "gpt-4o"]
    books.agree_in_tokens(2)


@pytest.mark.parametrize("where", ["model", "wrap", "call"])
def test_usage_on_streams_can_be_turned_off(where, make, books):
    model = make("chat", **({"stream_usage": False} if where == "model" else {}))
    llm = books.keeper().wrap(model, **({"stream_usage": False} if where == "wrap" else {}))
    chunks = list(llm.stream("hello", **({"stream_usage": False} if where == "call" else {})))
    assert all(chunk.usage_metadata is None for chunk in chunks)
    books.agree(1)
    assert books.usages == [None]
