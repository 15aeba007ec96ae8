"""Models that come to a wrapped crew after it was wrapped, and a tool that CrewAI runs amid a stream."""

from __future__ import annotations

from threading import Thread

import pytest
from crewai import Agent, Crew, Task
from crewai.llm_overlay import llm_overlay

import ratekeeper as rk
from ratekeeper.testing import Reply, ToolCall

TOPIC = {"topic": "tides"}


def models(report):
    """How often each model was asked."""
    return {scope.model: scope.requests for scope in report.scopes}


@pytest.fixture
def overlaid(llm, books, monkeypatch):
    """A wrapped crew whose agent's role is known at its kickoff only, and where CrewAI finds other models."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", books.provider.openai_url)
    mine = Agent(role="Researcher of {topic}", goal="Find out", backstory="Knows things", llm=llm())
    task = Task(description="Look at {topic}", expected_output="A line", agent=mine)
    return books.keeper().wrap_crew(Crew(agents=[mine], tasks=[task], name="crew"))


@pytest.mark.parametrize(
    "start",
    [
        lambda crew: crew.kickoff(TOPIC),
        lambda crew: crew.kickoff_for_each([TOPIC]),
        lambda crew: crew.copy().kickoff(TOPIC),
    ],
)
def test_a_model_that_an_overlay_puts_in_an_agents_place_is_wrapped_too(start, overlaid, books):
    with llm_overlay({"Researcher of tides": "openai/gpt-4o"}):
        start(overlaid)
    assert models(books.agree_in_tokens(1)) == {"gpt-4o": 1}


def test_an_agent_made_anew_under_an_overlay_is_wrapped(llm, agent, books, overlaid):
    wrapped = books.keeper().wrap(agent(llm(), "writer"))
    with llm_overlay({"writer": "openai/gpt-4o"}):
        twin = wrapped.copy()
    assert all(row.wrapped for row in books.keepers[0].audit(twin))
    twin.kickoff("And now?")
    assert models(books.agree_in_tokens(1)) == {"gpt-4o": 1}


def test_the_judge_of_a_crews_test_is_under_the_same_keeper(llm, crew, books):
    judge = llm("anthropic")
    books.keeper().wrap_crew(crew(llm())).test(n_iterations=1, eval_llm=judge, inputs=TOPIC)
    assert models(books.agree_in_tokens(2)) == {"gpt-4o-mini": 1, "claude-haiku-4-5": 1}
    assert not any(row.wrapped for row in books.keepers[0].audit(judge))


def test_a_judge_that_is_wrapped_stays_as_it_is(llm, crew, books):
    keeper = books.keeper()
    judge = keeper.wrap(llm("anthropic"), agent="judge")
    keeper.wrap_crew(crew(llm())).test(n_iterations=1, eval_llm=judge, inputs=TOPIC)
    books.agree_in_tokens(2)


def test_litellm_holds_no_slot_while_crewai_runs_a_tool_amid_its_stream(llm, books, provider):
    keeper = books.keeper(rk.Quota(concurrency=1))
    outer, inner = keeper.wrap(llm("litellm", stream=True)), keeper.wrap(llm())
    provider.script(Reply(tool_calls=[ToolCall(name="ask", arguments={"question": "why"})]))
    settings = {"available_functions": {"ask": lambda question: inner.call(question)}}
    thread = Thread(target=outer.call, args=("Look",), kwargs=settings, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    books.agree_in_tokens(2)
