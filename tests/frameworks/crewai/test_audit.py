"""Every model of a crew, by the way to it; what cannot be replaced is refused; what CrewAI copies stays wrapped."""

from __future__ import annotations

import copy

import pytest
from crewai import Process, Task
from crewai.agent.planning_config import PlanningConfig
from crewai.llms.base_llm import BaseLLM
from crewai.memory.unified_memory import Memory
from crewai.tasks.llm_guardrail import LLMGuardrail
from crewai.tools import BaseTool, tool

import ratekeeper as rk

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(reasoning|function_calling_llm).*deprecated:DeprecationWarning"
)


class Asking(BaseTool):
    """A tool with a model of its own."""

    name: str = "asking"
    description: str = "Asks"
    model: BaseLLM

    def _run(self) -> str:
        return self.model.call("Hello")


@pytest.fixture
def full(llm, agent, crew, tmp_path):
    """A crew with a model wherever CrewAI has a place for one."""
    model = llm()
    memory = Memory(llm=llm(), embedder=lambda texts: [[0.1] * 8 for _ in texts], storage=str(tmp_path))
    one = agent(
        model,
        function_calling_llm=llm(),
        planning_config=PlanningConfig(llm=llm(), max_attempts=1),
        tools=[Asking(model=llm())],
    )
    two = agent(model, "writer", memory=memory)
    tasks = [
        Task(description="Look", expected_output="A line", agent=one, guardrail="It is a line"),
        Task(
            description="Write",
            expected_output="A line",
            agent=two,
            guardrails=[LLMGuardrail(description="It is short", llm=llm()), lambda output: (True, output)],
        ),
    ]
    made = crew(
        None,
        agents=[one, two],
        tasks=tasks,
        process=Process.hierarchical,
        manager_llm=llm(),
        planning=True,
        planning_llm="gpt-4o-mini",
        chat_llm=llm(),
        function_calling_llm=llm("litellm"),
        memory=memory,
    )
    yield made
    memory.close()


PLACES = {
    "manager_llm",
    "planning_llm",
    "chat_llm",
    "function_calling_llm",
    "memory.llm",
    "memory.llm_instance",
    "agents[0].llm",
    "agents[0].function_calling_llm",
    "agents[0].planning_config.llm",
    "tasks[0].tools[0].model",
    "agents[1].llm",
    "tasks[0].guardrail.llm",
    "tasks[1].guardrails[0].llm",
}


def places(rows):
    return {row.where for row in rows}


def test_an_audit_lists_every_model_and_none_is_wrapped(full, books):
    rows = books.keeper().audit(full)
    assert places(rows) == PLACES
    assert not any(row.wrapped for row in rows)
    assert {row.kind for row in rows} == {"OpenAICompletion", "LLM", "str"}
    assert {row.model for row in rows} == {"gpt-4o-mini", "openai/gpt-4o-mini"}


def test_after_wrap_crew_every_model_is_wrapped_and_the_original_none(full, books):
    keeper = books.keeper()
    wrapped = keeper.wrap_crew(full)
    assert type(wrapped).__name__ == "Crew"
    assert places(keeper.audit(wrapped)) == PLACES
    assert all(row.wrapped for row in keeper.audit(wrapped))
    assert not any(row.wrapped for row in keeper.audit(full))
    assert full.planning_llm == "gpt-4o-mini"
    assert full.agents[0].crew is not wrapped


def test_what_was_shared_stays_shared_and_the_rest_is_the_same(full, books):
    wrapped = books.keeper().wrap_crew(full)
    assert wrapped.agents[0].llm is wrapped.agents[1].llm
    assert wrapped.tasks[0].agent is wrapped.agents[0]
    assert wrapped.tasks[1].guardrails[1] is full.tasks[1].guardrails[1]
    assert (wrapped.id, wrapped.key) == (full.id, full.key)
    assert [task.id for task in wrapped.tasks] == [task.id for task in full.tasks]
    assert wrapped.agents[1].memory._storage is full.agents[1].memory._storage


def test_the_copies_that_crewai_makes_are_wrapped(full, books):
    keeper = books.keeper()
    wrapped = keeper.wrap_crew(full)
    for twin in (wrapped.copy(), wrapped.copy().copy()):
        assert places(keeper.audit(twin)) == PLACES
        assert all(row.wrapped for row in keeper.audit(twin))


def test_copies_of_an_agent_are_wrapped(full, books):
    keeper = books.keeper()
    wrapped = keeper.wrap(full.agents[0])
    for twin in (wrapped.copy(), wrapped.copy().copy(), copy.copy(wrapped)):
        rows = keeper.audit(twin)
        assert {"llm", "function_calling_llm", "planning_config.llm"} <= places(rows)
        assert all(row.wrapped for row in rows if not row.where.startswith("crew."))


def test_a_crew_wrapped_twice_is_wrapped_once(llm, crew, books):
    keeper = books.keeper()
    keeper.wrap_crew(keeper.wrap_crew(crew(llm()))).kickoff({"topic": "tides"})
    books.agree_in_tokens(1)
    with pytest.raises(rk.ConfigError, match="another Keeper"):
        books.keeper().wrap_crew(keeper.wrap_crew(crew(llm())))


def test_a_crew_that_has_run_before_is_wrapped_whole(llm, agent, crew, books, provider):
    """Its manager and its executors exist by then, and hold the old models."""
    made = crew(llm(), process=Process.hierarchical, manager_llm=llm("anthropic"))
    made.kickoff({"topic": "tides"})
    before = provider.report().requests
    keeper = books.keeper()
    wrapped = keeper.wrap_crew(made)
    assert all(row.wrapped for row in keeper.audit(wrapped))
    wrapped.kickoff({"topic": "tides"})
    assert len(books.of("started")) == provider.report().requests - before > 0


def test_a_model_in_a_closure_is_refused_by_its_place(llm, agent, crew, books):
    hidden = llm()

    @tool("asking")
    def asking() -> str:
        """Asks a model that nobody sees."""
        return hidden.call("Hello")

    made = crew(None, agents=[agent(llm(), tools=[asking])])
    with pytest.raises(rk.ConfigError, match=r"tools\[0\].func.hidden: this model is held where"):
        books.keeper().wrap_crew(made)
    keeper = books.keeper()
    hidden = keeper.wrap(hidden)
    assert all(row.wrapped for row in keeper.audit(keeper.wrap_crew(made)))


def test_a_model_that_cannot_be_gated_is_refused_by_its_place(llm, crew, books):
    class Own(BaseLLM):
        def call(self, *args, **kwargs):
            return "answer"

    with pytest.raises(rk.ConfigError, match=r"chat_llm: .*nobody knows how it asks its model"):
        books.keeper().wrap_crew(crew(llm(), chat_llm=Own(model="own")))


def test_a_name_that_crewai_can_make_no_model_of_is_refused_by_its_place(llm, crew, books):
    with pytest.raises(rk.ConfigError, match="chat_llm: CrewAI cannot make the model"):
        books.keeper().wrap_crew(crew(llm(), chat_llm="azure/"))


def test_only_a_crew_is_wrapped_as_one(llm, books):
    with pytest.raises(TypeError, match=r"expects a crewai\.Crew"):
        books.keeper().wrap_crew(llm())


def test_an_audit_of_an_llm_is_its_own_row(llm, books):
    keeper = books.keeper()
    [row] = keeper.audit(keeper.wrap(llm("anthropic")))
    assert row == ("llm", "AnthropicCompletion", "claude-haiku-4-5", True)


@pytest.mark.filterwarnings("ignore:Direct api_key configuration:DeprecationWarning")
def test_embedders_of_memory_are_listed_as_they_are(llm, crew, books, tmp_path, provider):
    from chromadb.utils.embedding_functions.openai_embedding_function import OpenAIEmbeddingFunction

    keeper = books.keeper()
    embedder = OpenAIEmbeddingFunction(
        api_key="sk-test", api_base=provider.openai_url, model_name="text-embedding-3-small"
    )
    for number, (given, kind, model) in enumerate(
        [(None, "default", ""), (embedder, "OpenAIEmbeddingFunction", "text-embedding-3-small")]
    ):
        memory = Memory(llm=llm(), embedder=given, storage=str(tmp_path / str(number)))
        made = keeper.wrap_crew(crew(llm(), memory=memory))
        [row] = [row for row in keeper.audit(made) if row.where.endswith("embedder")]
        assert row == ("memory.embedder", kind, model, False)
        memory.close()
    embedder.client = keeper.wrap(embedder.client)
    assert len(embedder(["tide"])[0]) > 1
    books.agree(1)
    [row] = [row for row in keeper.audit(made) if row.where.endswith("embedder")]
    assert row.wrapped


def test_embedders_of_knowledge_are_listed(llm, agent, crew, books):
    from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource

    specified = {"provider": "openai", "config": {"api_key": "sk-test"}}
    for given, kind in ((None, "default"), (specified, "dict")):
        knows = agent(llm(), knowledge_sources=[StringKnowledgeSource(content="High.")], embedder=given)
        made = books.keeper().wrap_crew(crew(None, agents=[knows]))
        [row] = [row for row in books.keepers[0].audit(made) if row.where.endswith("embedder")]
        assert row == ("agents[0].knowledge.embedder", kind, "", False)
