"""Agents, graphs and wrappers around wrapped models: one lease a request, and limits across all of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from ratekeeper import Quota
from ratekeeper.testing import Fault, Reply, ToolCall

every_kind = pytest.mark.parametrize("kind", ["chat", "responses", "azure", "anthropic"])


def asking(llm):
    """A tool that calls the model again."""

    @tool
    def ask(question: str) -> str:
        """Asks somebody else."""
        return llm.invoke(question).text

    return ask


def script_two_turns(provider, agents):
    """Each agent first calls the tool `ask`, whose answer it then repeats."""
    provider.script(
        Reply(
            tool_calls=[ToolCall(name="ask", arguments={"question": "inner"})], match="outer", times=agents
        ),
        Reply(text="done", latency=0.02, times=None),
    )


def outer():
    return {"messages": [HumanMessage("outer")]}


@every_kind
def test_an_agent_whose_tool_calls_the_model_is_one_lease_a_request(kind, make, books, provider, run):
    script_two_turns(provider, 2)
    llm = books.keeper(Quota(concurrency=1)).wrap(make(kind))
    agent = create_agent(llm, [asking(llm)])
    assert agent.invoke(outer())["messages"][-1].text == "done"
    assert run(agent.ainvoke(outer()))["messages"][-1].text == "done"
    books.agree_in_tokens(2 * 3)


@every_kind
def test_streaming_agents_are_one_lease_a_request(kind, make, books, provider, run):
    script_two_turns(provider, 3)
    llm = books.keeper(Quota(concurrency=1)).wrap(make(kind))
    agent = create_agent(llm, [asking(llm)], name="researcher")

    async def consume(stream):
        return [item async for item in stream]

    list(agent.stream(outer(), stream_mode="messages"))
    run(consume(agent.astream(outer(), stream_mode="messages")))
    events = run(consume(agent.astream_events(outer(), version="v2")))
    assert "on_chat_model_stream" in {event["event"] for event in events}
    books.agree_in_tokens(3 * 3)
    # Before Python 3.11 a config does not reach a task's children, so LangChain's own traces miss the
    # tool's call too.
    assert {event.caller for event in books.of("started")} - {""} == {"researcher"}


@pytest.mark.parametrize("way", ["tasks", "threads"])
def test_eight_agents_under_a_concurrency_of_two_never_make_three_requests_at_once(
    way, make, books, provider, run
):
    script_two_turns(provider, 8)
    llm = books.keeper(Quota(concurrency=2)).wrap(make("chat"))
    agent = create_agent(llm, [asking(llm)])
    if way == "threads":
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: agent.invoke(outer()), range(8)))
    else:

        async def all_eight():
            return await asyncio.gather(*(agent.ainvoke(outer()) for _ in range(8)))

        answers = run(all_eight())
    assert [answer["messages"][-1].text for answer in answers] == ["done"] * 8
    report = books.agree_in_tokens(8 * 3)
    assert report.peak_concurrency == 2
    assert report.statuses == {200: 24}


def test_a_middleware_that_calls_the_wrapped_model_is_limited_too(make, books, provider):
    provider.script(Reply(text="ok", times=None))
    llm = books.keeper().wrap(make("chat"))
    summaries = SummarizationMiddleware(model=llm, trigger=("messages", 2), keep=("messages", 1))
    said = [("user", "one"), ("assistant", "two"), ("user", "three")]
    create_agent(llm, middleware=[summaries]).invoke({"messages": said})
    books.agree_in_tokens(2)


def test_a_graph_of_models_shares_the_quota_of_their_key(make, books, provider, run):
    keeper = books.keeper(Quota(concurrency=2))
    provider.script(Reply(text="ok", latency=0.02, times=None))

    def node(name):
        llm = keeper.wrap(make("chat"), agent=name)

        async def call(state):
            return {"messages": [await llm.ainvoke(state["messages"])]}

        return call

    graph = StateGraph(MessagesState)
    for name in ("a", "b", "c", "d"):
        graph.add_node(name, node(name))
        graph.add_edge(START, name)
    compiled = graph.compile()
    assert len(run(compiled.ainvoke(outer()))["messages"]) == 5
    report = books.agree_in_tokens(4)
    assert report.peak_concurrency == 2
    assert {event.caller for event in books.of("settled")} == {"a", "b", "c", "d"}


def test_fallbacks_count_the_failure_and_the_answer(make, books, provider, run):
    provider.set_faults(Fault(kind="server_error", model="gpt-4o"))
    keeper = books.keeper()
    llm = keeper.wrap(make("chat", model="gpt-4o")).with_fallbacks([keeper.wrap(make("anthropic"))])
    assert llm.invoke("hello").content
    assert run(llm.ainvoke("hello")).content
    books.agree(4)
    assert len(books.of("failed")) == len(books.of("settled")) == 2


def test_with_retry_takes_a_lease_for_each_attempt(make, books, provider, run):
    llm = books.keeper(Quota(concurrency=1)).wrap(make("chat"))
    patient = llm.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    for call in (lambda: patient.invoke("hello"), lambda: run(patient.ainvoke("hello"))):
        provider.set_faults(Fault(kind="server_error", times=2))
        assert call().content
    books.agree(6)
    assert len(books.of("failed")) == 4
