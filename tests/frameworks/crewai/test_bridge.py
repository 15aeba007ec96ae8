"""LangChain chat models as CrewAI LLMs: crews, tools, objects, streams, events and usage, on the real packages."""

from __future__ import annotations

import asyncio
import copy
import os

import anthropic
import openai
import pytest
from crewai.events import crewai_event_bus
from crewai.events.types.llm_events import (
    LLMCallCompletedEvent,
    LLMCallFailedEvent,
    LLMCallStartedEvent,
    LLMStreamChunkEvent,
)
from crewai.hooks.dispatch import HookAborted
from crewai.hooks.llm_hooks import (
    register_after_llm_call_hook,
    register_before_llm_call_hook,
    unregister_after_llm_call_hook,
    unregister_before_llm_call_hook,
)
from crewai.llms.base_llm import BaseLLM, call_stop_override
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply, ToolCall

TOPIC = {"topic": "tides"}
FAST = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
every_kind = pytest.mark.parametrize("kind", ["chat", "anthropic"])
EMPTY = {"type": "object", "properties": {}}
ASK = {"type": "function", "function": {"name": "ask", "description": "Asks", "parameters": EMPTY}}


@pytest.fixture
def heard():
    """The names of CrewAI's LLM events in order."""
    kinds = (LLMCallStartedEvent, LLMCallCompletedEvent, LLMCallFailedEvent, LLMStreamChunkEvent)
    found = []
    with crewai_event_bus.scoped_handlers():
        for kind in kinds:
            crewai_event_bus.on(kind)(lambda _, event: found.append(event))
        yield found


@every_kind
@pytest.mark.parametrize("way", ["call", "acall"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_each_call_is_one_request_one_lease_and_the_servers_own_count(*, kind, way, stream, make, books, run):
    llm = books.keeper().crewai_llm(make(kind))
    llm.stream = stream
    assert isinstance(llm, BaseLLM)
    answer = run(llm.acall("Hello")) if way == "acall" else llm.call("Hello")
    assert isinstance(answer, str)
    assert answer
    report = books.agree_in_tokens(1)
    usage = llm.get_token_usage_summary()
    assert (usage.prompt_tokens, usage.completion_tokens) == (report.input_tokens, report.output_tokens)
    assert usage.successful_requests == 1


@every_kind
def test_an_agent_takes_it_where_crewai_refuses_the_chat_model_itself(kind, make, crew, books):
    with pytest.raises(Exception, match="validation error"):
        crew(make(kind))
    keeper = books.keeper()
    assert crew(keeper.crewai_llm(make(kind))).kickoff(TOPIC).raw
    assert asyncio.run(keeper.wrap_crew(crew(keeper.crewai_llm(make(kind)))).akickoff(TOPIC)).raw
    books.agree_in_tokens(2)


@every_kind
def test_tools_run_through_crewais_executor_outside_of_the_slot(
    *, kind, make, agent, crew, adder, books, provider
):
    provider.script(Reply(tool_calls=[ToolCall(name="adder", arguments={"a": 2, "b": 3})]))
    llm = books.keeper(rk.Quota(concurrency=1)).crewai_llm(make(kind))
    assert llm.supports_function_calling()
    crew(None, agents=[agent(llm, tools=[adder])]).kickoff(TOPIC)
    books.agree_in_tokens(2)


def test_a_tool_that_crewai_gives_with_the_call_is_run(make, books, provider):
    provider.script(Reply(tool_calls=[ToolCall(name="ask", arguments={})]))
    llm = books.keeper(rk.Quota(concurrency=1)).crewai_llm(make("chat"), timeout=5)
    answer = llm.call("Hello", tools=[ASK], available_functions={"ask": lambda: llm.call("Inside")[:3] + "!"})
    assert answer.endswith("!")
    books.agree_in_tokens(2)


def test_tool_calls_come_in_the_form_of_openai(make, books, provider):
    provider.script(Reply(tool_calls=[ToolCall(name="ask", arguments={})]))
    [call] = books.keeper().crewai_llm(make("anthropic")).call("Hello", tools=[ASK])
    assert (call["type"], call["function"]) == ("function", {"name": "ask", "arguments": "{}"})
    assert call["id"]


@every_kind
def test_objects_are_parsed_by_langchain(kind, make, books, city, run):
    llm = books.keeper().crewai_llm(make(kind))
    assert isinstance(llm.call("Hello", response_model=city), city)
    assert isinstance(run(llm.acall("Hello", response_model=city)), city)
    books.agree_in_tokens(2)


@every_kind
@pytest.mark.parametrize("output", ["output_json", "output_pydantic"])
def test_a_task_with_an_object_as_output_is_counted(*, kind, output, make, crew, books, city, provider):
    provider.script(Reply(text="No object at all."))
    result = crew(books.keeper().crewai_llm(make(kind)), task={output: city}).kickoff(TOPIC)
    assert result.json_dict if output == "output_json" else result.pydantic
    # OpenAI's SDK parses inside of the call: where that fails, nobody tells what was used.
    books.agree(provider.report().requests)


def test_a_stream_is_told_to_the_event_bus(make, books, heard, eventually):
    llm = books.keeper().crewai_llm(make("chat"))
    llm.stream = True
    answer = llm.call("Hello")
    done = eventually(
        lambda: heard, lambda events: any(event.type == "llm_call_completed" for event in events)
    )
    chunks = [event for event in done if event.type == "llm_stream_chunk"]
    eventually(lambda: heard, lambda events: "".join(_chunks(events)) == answer)
    assert len(chunks) > 1
    assert "".join(_chunks(heard)) == answer


def _chunks(events):
    chunks = [event for event in events if event.type == "llm_stream_chunk"]
    return [event.chunk for event in sorted(chunks, key=lambda event: event.emission_sequence)]


def test_a_failure_is_told_to_the_event_bus(make, books, provider, heard, eventually):
    provider.set_faults(Fault(kind="server_error"))
    with pytest.raises(openai.InternalServerError):
        books.keeper().crewai_llm(make("chat")).call("Hello")
    seen = eventually(lambda: [event.type for event in heard], lambda types: "llm_call_failed" in types)
    assert sorted(seen) == ["llm_call_failed", "llm_call_started"]


def test_hooks_see_the_call_and_may_change_the_answer_or_stop_it(make, books):
    llm = books.keeper().crewai_llm(make("chat"))

    def stop(context):
        if "Stop" in str(context.messages):
            raise HookAborted("no such calls")

    def change(context):
        return "changed"

    register_before_llm_call_hook(stop)
    register_after_llm_call_hook(change)
    try:
        assert llm.call("Hello") == "changed"
        with pytest.raises(HookAborted, match="no such calls"):
            llm.call("Stop")
    finally:
        unregister_before_llm_call_hook(stop)
        unregister_after_llm_call_hook(change)
    books.agree(1)


def test_answers_end_at_stop_words(make, books, provider):
    provider.script(Reply(text="Thought\nObservation: made up", times=2))
    llm = books.keeper().crewai_llm(make("chat"))
    with call_stop_override(llm, ["\nObservation:"]):
        assert llm.call("Hello") == "Thought"
        llm.stream = True
        assert llm.call("Hello") == "Thought"


def test_models_that_know_no_stop_words_are_sent_none(make, books):
    llm = books.keeper().crewai_llm(make("chat", model="gpt-5-mini"))
    assert not llm.supports_stop_words()
    with call_stop_override(llm, ["\nObservation:"]):
        assert llm.call("Hello")
    assert books.keeper().crewai_llm(make("chat")).supports_stop_words()


@pytest.mark.parametrize(
    ("kind", "error"), [("chat", openai.RateLimitError), ("anthropic", anthropic.RateLimitError)]
)
def test_a_permanent_429_in_a_crew_makes_as_many_requests_as_the_policy_says(
    *, kind, error, make, crew, books, provider
):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    plain = crew(books.keeper(retry=FAST).crewai_llm(make(kind)))
    with pytest.raises(error):
        plain.kickoff(TOPIC)
    assert books.agree(3).statuses == {429: 3}


def test_a_refusal_of_ours_comes_out_of_a_crew_as_itself(make, crew, books, provider):
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 1, per=3600)), headroom=0, timeout=0.05)
    plain = crew(keeper.crewai_llm(make("chat")))
    plain.kickoff(TOPIC)
    with pytest.raises(rk.QuotaExceededError):
        plain.kickoff(TOPIC)
    assert (provider.report().requests, len(books.of("refused"))) == (1, 1)


def test_copies_stay_on_the_same_quota_and_are_audited_as_wrapped(make, crew, books):
    keeper = books.keeper()
    llm = keeper.crewai_llm(make("chat"))
    for twin in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy()):
        assert twin.call("Hello")
    books.agree(3)
    assert keeper.crewai_llm(keeper.wrap(make("chat"))).call("Hello")
    books.agree(4)
    [row] = keeper.audit(llm)
    assert (row.kind, row.model, row.wrapped) == ("ChatModelLLM", "gpt-4o-mini", True)
    copies = keeper.wrap_crew(crew(llm)).kickoff_for_each([TOPIC, TOPIC])
    assert len(copies) == 2
    books.agree(6)


def test_the_chat_model_itself_is_untouched(make, books, provider):
    model = make("chat")
    books.keeper().crewai_llm(model)
    assert model.invoke("Hello").content
    assert (provider.report().requests, books.events) == (1, [])


def test_only_chat_models_are_taken(books):
    with pytest.raises(TypeError, match="expects a LangChain chat model"):
        books.keeper().crewai_llm(os)


def test_a_model_without_tools_is_asked_for_text(books, city):
    class Plain(BaseChatModel):
        @property
        def _llm_type(self):
            return "plain"

        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            return ChatResult(generations=[ChatGeneration(message=AIMessage('{"name": "Lisbon"}'))])

    llm = books.keeper().crewai_llm(Plain())
    assert not llm.supports_function_calling()
    assert llm.call("Hello", response_model=city) == city(name="Lisbon")
    assert len(books.of("settled")) == 1
