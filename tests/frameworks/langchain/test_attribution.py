"""Whose cost it is: what LangChain knows of a call is in its entry."""

from __future__ import annotations

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import END, START, MessagesState, StateGraph

import ratekeeper as rk


@pytest.fixture
def keeper(books):
    return books.keeper()


@pytest.mark.parametrize("is_async", [False, True])
def test_the_tags_of_the_config_are_those_of_the_entry(is_async, keeper, make, run):
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | keeper.wrap(make("chat"))
    config = {"tags": ["nightly", "report"]}
    if is_async:
        run(chain.ainvoke({"text": "hello"}, config))
    else:
        chain.invoke({"text": "hello"}, config)
    [entry] = keeper.costs.entries()
    assert entry.tags == {"langchain_tags": "nightly,report"}
    assert keeper.costs.total(langchain_tags="nightly,report").usd == entry.usd > 0


def test_a_node_of_a_graph_is_the_agent_of_the_entry_beside_ratekeepers_own_tags(keeper, make):
    llm = keeper.wrap(make("chat"))
    graph = StateGraph(MessagesState)
    graph.add_node("writer", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "writer")
    graph.add_edge("writer", END)
    with rk.tags(tenant="acme"):
        graph.compile().invoke({"messages": [("user", "hello")]})
    [entry] = keeper.costs.entries()
    assert entry.tags == {"tenant": "acme", "agent": "writer"}


def test_every_attempt_and_stream_is_entered_with_what_the_provider_counted(keeper, make, provider, run):
    llm = keeper.wrap(make("chat"), agent="poet")
    llm.invoke("hello")
    list(llm.stream("hello"))

    async def main():
        return [chunk async for chunk in llm.astream("hello")]

    run(main())
    spend, report = keeper.costs.total(agent="poet"), provider.report()
    assert (spend.calls, spend.input_tokens, spend.output_tokens) == (
        3,
        report.input_tokens,
        report.output_tokens,
    )
    assert spend.usd * 10**12 == report.input_tokens * 150_000 + report.output_tokens * 600_000
