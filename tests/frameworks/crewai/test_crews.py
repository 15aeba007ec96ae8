"""Crews whose every model is under a keeper: all the ways to start one, and all that asks a model inside."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from crewai import Agent, Crew, Process, Task
from crewai.flow.flow import Flow, listen, start
from crewai.memory.unified_memory import Memory

import ratekeeper as rk
from ratekeeper.testing import Reply, ToolCall

TOPIC = {"topic": "tides"}
TOPICS = [{"topic": f"tide {number}"} for number in range(8)]
#: Parameters of CrewAI's that it wants to be rid of, but has.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(reasoning|function_calling_llm).*deprecated:DeprecationWarning"
)

STARTS = {
    "kickoff": lambda crew: crew.kickoff(TOPIC),
    "kickoff_async": lambda crew: asyncio.run(crew.kickoff_async(TOPIC)),
    "akickoff": lambda crew: asyncio.run(crew.akickoff(TOPIC)),
    "kickoff_for_each": lambda crew: crew.kickoff_for_each([TOPIC]),
    "kickoff_for_each_async": lambda crew: asyncio.run(crew.kickoff_for_each_async([TOPIC])),
    "akickoff_for_each": lambda crew: asyncio.run(crew.akickoff_for_each([TOPIC])),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_every_way_to_start_a_crew_is_counted(start, kind, llm, crew, books):
    assert STARTS[start](books.keeper().wrap_crew(crew(llm(kind))))
    books.agree_in_tokens(1)


def test_a_sequence_of_tasks_bears_its_names(llm, agent, crew, books):
    agents = [agent(llm(), "researcher"), agent(llm("anthropic"), "writer")]
    tasks = [
        Task(description="Look at {topic}", expected_output="A line", agent=agents[0]),
        Task(name="writing", description="Write", expected_output="A line", agent=agents[1]),
    ]
    books.keeper().wrap_crew(crew(None, agents=agents, tasks=tasks)).kickoff(TOPIC)
    books.agree_in_tokens(2)
    assert [dict(event.tags) for event in books.of("settled")] == [
        {"crew": "crew", "agent": "researcher", "task": "Look at tides"},
        {"crew": "crew", "agent": "writer", "task": "writing"},
    ]


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "azure", "bedrock"])
def test_an_agent_with_tools_holds_its_slot_for_the_model_alone(
    *, kind, llm, agent, crew, adder, books, provider
):
    provider.script(Reply(tool_calls=[ToolCall(name="adder", arguments={"a": 2, "b": 3})]))
    wrapped = books.keeper(rk.Quota(concurrency=1)).wrap_crew(
        crew(None, agents=[agent(llm(kind), tools=[adder])])
    )
    wrapped.kickoff(TOPIC)
    books.agree_in_tokens(2)


def test_a_tool_that_starts_a_crew_does_not_wait_for_its_own_crew(llm, agent, crew, books, provider):
    from crewai.tools import tool

    keeper = books.keeper(rk.Quota(concurrency=1))
    inner = keeper.wrap_crew(crew(llm()))

    @tool("research")
    def research() -> str:
        """Starts another crew."""
        return str(inner.kickoff(TOPIC))

    provider.script(Reply(tool_calls=[ToolCall(name="research", arguments={})]))
    keeper.wrap_crew(crew(None, agents=[agent(llm(), tools=[research])])).kickoff(TOPIC)
    books.agree_in_tokens(3)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_streaming_crew_streams_and_is_settled(kind, llm, crew, books):
    stream = books.keeper().wrap_crew(crew(llm(kind), stream=True)).kickoff(TOPIC)
    assert len(list(stream)) > 1
    assert str(stream.result)
    books.agree_in_tokens(1)


def test_an_asynchronously_streaming_crew_is_settled(llm, crew, books):
    async def main():
        stream = await books.keeper().wrap_crew(crew(llm(), stream=True)).kickoff_async(TOPIC)
        return [chunk async for chunk in stream]

    assert len(asyncio.run(main())) > 1
    books.agree_in_tokens(1)


def test_a_hierarchy_is_counted_with_its_manager_and_what_it_delegates(llm, crew, books, provider):
    delegate = ToolCall(
        name="delegate_work_to_coworker",
        arguments={"task": "Look", "context": "Tides", "coworker": "researcher"},
    )
    provider.script(Reply(tool_calls=[delegate]))
    made = crew(llm(), process=Process.hierarchical, manager_llm=llm("anthropic"))
    books.keeper().wrap_crew(made).kickoff(TOPIC)
    report = books.agree_in_tokens(3)
    assert {scope.model: scope.requests for scope in report.scopes} == {
        "claude-haiku-4-5": 2,
        "gpt-4o-mini": 1,
    }
    assert made.manager_agent is None  # the crew that was wrapped is as it was


def test_a_manager_agent_of_ones_own_is_counted(llm, agent, crew, books, provider):
    boss = agent(llm("anthropic"), "boss", allow_delegation=True)
    books.keeper().wrap_crew(crew(llm(), process=Process.hierarchical, manager_agent=boss)).kickoff(TOPIC)
    [scope] = books.agree_in_tokens(1).scopes
    assert scope.model == "claude-haiku-4-5"


def test_asynchronous_tasks_are_counted(llm, agent, crew, books):
    agents = [agent(llm(), f"researcher {number}") for number in range(3)]
    tasks = [
        Task(description=f"Look {number}", expected_output="A line", agent=one, async_execution=number < 2)
        for number, one in enumerate(agents)
    ]
    books.keeper().wrap_crew(crew(None, agents=agents, tasks=tasks)).kickoff()
    books.agree_in_tokens(3)


def test_output_as_an_object_is_counted(llm, crew, books, city):
    output = books.keeper().wrap_crew(crew(llm(), task={"output_pydantic": city})).kickoff(TOPIC)
    assert isinstance(output.pydantic, city)
    books.agree_in_tokens(books.provider.report().requests)


@pytest.mark.parametrize("kind", ["openai", "anthropic", "bedrock"])
@pytest.mark.parametrize("output", ["output_json", "output_pydantic"])
def test_conversion_into_an_object_asks_through_the_wrapped_llm(
    *, kind, output, llm, crew, books, city, provider
):
    """CrewAI's `InternalInstructor` builds a client of its own for it."""
    provider.script(Reply(text="No object at all."))
    made = books.keeper().wrap_crew(crew(llm(kind), task={output: city}))
    result = made.kickoff(TOPIC)
    assert result.json_dict if output == "output_json" else result.pydantic
    assert books.agree_in_tokens(provider.report().requests).requests >= 2


def test_guardrails_in_words_are_counted(llm, crew, books, provider):
    provider.script(
        Reply(text="The tide is high."),
        Reply(text='{"valid": false, "feedback": "Say more"}'),
        Reply(text="The tide is very high."),
        Reply(text='{"valid": true, "feedback": null}'),
    )
    made = crew(llm(), task={"guardrail": "It says how high"})
    result = books.keeper().wrap_crew(made).kickoff(TOPIC)
    assert result.raw == "The tide is very high."
    assert books.agree_in_tokens(provider.report().requests).requests >= 4


def test_planning_of_the_crew_is_counted(llm, crew, books, provider):
    made = crew(llm(), planning=True, planning_llm=llm("anthropic"))
    books.keeper().wrap_crew(made).kickoff(TOPIC)
    report = books.agree_in_tokens(provider.report().requests)
    assert {scope.model for scope in report.scopes} == {"gpt-4o-mini", "claude-haiku-4-5"}


def test_planning_without_a_model_is_under_the_keeper_with_crewais_own_choice(llm, crew, books, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", books.provider.openai_url)
    books.keeper().wrap_crew(crew(llm(), planning=True)).kickoff(TOPIC)
    assert len(books.agree_in_tokens(books.provider.report().requests).scopes) == 2


def test_reasoning_is_counted(llm, agent, crew, books, provider):
    thinker = agent(llm(), reasoning=True, max_reasoning_attempts=2)
    books.keeper().wrap_crew(crew(None, agents=[thinker])).kickoff(TOPIC)
    assert books.agree_in_tokens(provider.report().requests).requests >= 3


def test_reasoning_that_never_is_ready_ends_at_the_calls_a_job_may_make(llm, agent, crew, books, provider):
    keeper = books.keeper()
    wrapped = keeper.wrap_crew(crew(None, agents=[agent(llm(), reasoning=True)]))
    with pytest.raises(rk.BudgetExceededError, match="12 of 12 calls"):
        keeper.guard(calls=12)(wrapped.kickoff)(TOPIC)
    books.agree_in_tokens(12)


def test_a_planning_config_with_a_model_of_its_own_is_counted(llm, agent, crew, books, provider):
    from crewai.agent.planning_config import PlanningConfig

    planner = agent(llm(), planning_config=PlanningConfig(max_attempts=1, llm=llm("anthropic")))
    books.keeper().wrap_crew(crew(None, agents=[planner])).kickoff(TOPIC)
    report = books.agree_in_tokens(provider.report().requests)
    assert {scope.model for scope in report.scopes} == {"gpt-4o-mini", "claude-haiku-4-5"}


def test_memory_is_counted(llm, crew, books, provider, tmp_path):
    memory = Memory(
        llm=llm("anthropic"), embedder=lambda texts: [[0.1] * 8 for _ in texts], storage=str(tmp_path)
    )
    try:
        books.keeper().wrap_crew(crew(llm(), memory=memory)).kickoff(TOPIC)
    finally:
        memory.close()
    report = books.agree_in_tokens(provider.report().requests)
    assert {scope.model for scope in report.scopes} == {"gpt-4o-mini", "claude-haiku-4-5"}


def test_a_model_for_function_calling_is_counted(*, llm, agent, crew, adder, books, provider):
    """An o1 calls tools in text; what is no JSON in it, another model reads."""
    text = "Thought: add\nAction: adder\nAction Input: two and three"
    provider.script(Reply(text=text), Reply(text="Thought: done\nFinal Answer: 5", times=None))
    caller = agent(llm("openai", model="o1-mini"), tools=[adder], function_calling_llm=llm("anthropic"))
    books.keeper().wrap_crew(crew(None, agents=[caller])).kickoff(TOPIC)
    report = books.agree_in_tokens(provider.report().requests)
    assert {scope.model for scope in report.scopes} == {"o1-mini", "claude-haiku-4-5"}


def test_a_flow_with_crews_agents_and_models_is_counted(llm, agent, crew, books):
    keeper = books.keeper()
    wrapped, alone, model = (
        keeper.wrap_crew(crew(llm())),
        keeper.wrap(agent(llm())),
        keeper.wrap(llm("anthropic")),
    )

    class Research(Flow):
        @start()
        def begin(self):
            return str(wrapped.kickoff(TOPIC))

        @listen(begin)
        def go_on(self, _):
            return model.call("And then?") + str(alone.kickoff("And now?"))

    assert Research().kickoff()
    books.agree_in_tokens(3)


def test_an_agent_alone_is_counted(llm, agent, books, run):
    wrapped = books.keeper().wrap(agent(llm()))
    assert wrapped.kickoff("What is the tide?").raw
    assert run(wrapped.kickoff_async("What is it now?")).raw
    books.agree_in_tokens(2)


@pytest.mark.parametrize("way", ["kickoff_for_each", "kickoff_for_each_async"])
def test_eight_copies_of_a_crew_obey_one_rate(way, llm, crew, books):
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 10, per=1, burst=1)), headroom=0)
    wrapped = keeper.wrap_crew(crew(llm()))
    outputs = getattr(wrapped, way)(TOPICS)
    outputs = asyncio.run(outputs) if way.endswith("async") else outputs
    assert len(outputs) == 8
    assert min(books.agree_in_tokens(8).gaps()) > 0.08


def test_eight_crews_at_once_keep_to_two_calls_at_once(llm, crew, books, provider):
    provider.script(Reply(latency=0.3, times=None))
    keeper = books.keeper(rk.Quota(concurrency=2))
    crews = [keeper.wrap_crew(crew(llm())) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(lambda one: one.kickoff(TOPIC), crews))) == 8
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_eight_crews_on_one_loop_keep_to_two_calls_at_once(llm, crew, books, provider):
    provider.script(Reply(latency=0.3, times=None))
    keeper = books.keeper(rk.Quota(concurrency=2))

    async def main():
        await asyncio.gather(*(keeper.wrap_crew(crew(llm())).akickoff(TOPIC) for _ in range(8)))

    asyncio.run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_max_rpm_of_the_crew_still_counts(llm, crew, books):
    wrapped = books.keeper().wrap_crew(crew(llm(), max_rpm=50))
    assert wrapped.max_rpm == 50
    wrapped.kickoff(TOPIC)
    assert wrapped.agents[0]._rpm_controller._current_rpm >= 0
    books.agree_in_tokens(1)


def test_a_user_subclass_of_crew_and_agent_keeps_its_class(llm, books):
    class MyAgent(Agent):
        pass

    class MyCrew(Crew):
        pass

    mine = MyAgent(role="r", goal="g", backstory="b", llm=llm())
    task = Task(description="Look", expected_output="A line", agent=mine)
    wrapped = books.keeper().wrap_crew(MyCrew(agents=[mine], tasks=[task]))
    assert isinstance(wrapped, MyCrew)
    assert isinstance(wrapped.agents[0], MyAgent)
    wrapped.kickoff()
    books.agree(1)
