"""Retries around wrapped models do not multiply, and what is a call of its own is always sent."""

from __future__ import annotations

import asyncio

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

import ratekeeper as rk
from ratekeeper.testing import Fault

QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
NO_JITTER = {"wait_exponential_jitter": False}


@pytest.fixture
def llm(make, books):
    return books.keeper(retry=QUICK).wrap(make("chat"))


@pytest.fixture
def middleware():
    """LangChain's retry middleware, whose own waits are as short as ours."""
    return lambda **settings: ModelRetryMiddleware(
        max_retries=2, initial_delay=0.01, jitter=False, **settings
    )


@pytest.mark.parametrize("fault", ["server_error", "insufficient_quota"])
def test_with_retry_inside_a_decorator_is_bounded_by_one_policy(fault, llm, provider, books, run):
    provider.set_faults(Fault(kind=fault))
    retrying = llm.with_retry(stop_after_attempt=3, **NO_JITTER)

    @rk.retry(attempts=3, wait_initial=0.01)
    def ask():
        return retrying.invoke("hello")

    @rk.retry(attempts=3, wait_initial=0.01)
    async def ask_async():
        return await retrying.ainvoke("hello")

    a_policy = 3 if fault == "server_error" else 1
    with pytest.raises(openai.OpenAIError):
        ask()
    books.agree(a_policy)
    with pytest.raises(openai.OpenAIError):
        run(ask_async())
    books.agree(2 * a_policy)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_an_agents_retry_middleware_inside_a_decorator_is_bounded_by_one_policy(
    way, llm, books, run, middleware
):
    provider = books.provider
    provider.set_faults(Fault(kind="server_error"))
    agent = create_agent(llm, [], middleware=[middleware(on_failure="error")])
    question = {"messages": [("user", "hello")]}

    async def consume():
        return [item async for item in agent.astream(question, stream_mode="messages")]

    ways = {
        "invoke": lambda: agent.invoke(question),
        "ainvoke": lambda: run(agent.ainvoke(question)),
        "stream": lambda: list(agent.stream(question, stream_mode="messages")),
        "astream": lambda: run(consume()),
    }
    ask = rk.retry(attempts=3, wait_initial=0.01)(ways[way])

    with pytest.raises(openai.InternalServerError):
        ask()
    books.agree(3)


def test_an_agent_whose_middleware_swallows_the_failure_asks_no_more_than_one_policy(
    llm, provider, books, middleware
):
    provider.set_faults(Fault(kind="server_error"))
    agent = create_agent(llm, [], middleware=[middleware()])
    answer = agent.invoke({"messages": [("user", "hello")]})["messages"][-1]
    assert isinstance(answer, AIMessage)
    assert "500" in answer.text
    books.agree(3)


def test_with_retry_around_what_passes_gets_its_answer(llm, provider, books):
    provider.set_faults(Fault(kind="server_error", times=2))
    assert llm.with_retry(stop_after_attempt=3, **NO_JITTER).invoke("hello").content
    books.agree(3)


def test_what_no_provider_said_is_left_to_the_users_own_retry(make, books, provider, monkeypatch):
    """A wrapped model must not take from with_retry what it does not try again itself."""
    llm = books.keeper(retry=QUICK).wrap(make("chat"))
    failures = [ValueError("no JSON"), ValueError("no JSON")]
    original = type(llm)._create_chat_result

    def create(self, *args, **kwargs):
        if failures:
            raise failures.pop()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(llm).__mro__[1], "_create_chat_result", create)
    assert llm.with_retry(stop_after_attempt=3, **NO_JITTER).invoke("hello").content
    books.agree(3)


# --- calls of their own -----------------------------------------------------------------------------------


def inside_a_run(*questions):
    """Asks one after the other in one run, and gives what comes of each."""

    def ask(_, config):
        answers = []
        for model, text in questions:
            try:
                answers.append(model.invoke(text, config).content)
            except openai.OpenAIError as error:
                answers.append(type(error).__name__)
        return answers

    return RunnableLambda(ask).invoke({})


def test_another_prompt_in_the_same_run_is_sent(llm, provider, books):
    provider.set_faults(Fault(kind="insufficient_quota", times=1))
    first, second, third = inside_a_run((llm, "one"), (llm, "two"), (llm, "one"))
    assert first == third
    assert "Error" in first
    assert "Error" not in second
    books.agree(2)


@pytest.mark.parametrize("change", ["max_tokens", "temperature", "model_copy", "response_format"])
def test_other_settings_in_the_same_run_are_another_call(change, llm, provider, books):
    provider.set_faults(Fault(kind="insufficient_quota", times=1))
    others = {
        "max_tokens": lambda: llm.bind(max_tokens=7),
        "temperature": lambda: llm.bind(temperature=0.5),
        "model_copy": lambda: llm.model_copy(update={"temperature": 0.5}),
        "response_format": lambda: llm.bind(response_format={"type": "json_object"}),
    }
    first, second = inside_a_run((llm, "in JSON"), (others[change](), "in JSON"))
    assert "Error" in first
    assert "Error" not in second
    books.agree(2)


def test_the_same_prompt_in_another_run_is_sent(llm, provider, books):
    provider.set_faults(Fault(kind="insufficient_quota", times=1))
    assert "Error" in inside_a_run((llm, "one"))[0]
    assert "Error" not in inside_a_run((llm, "one"))[0]
    books.agree(2)


def test_the_same_prompt_in_no_run_at_all_is_sent(llm, provider, books):
    provider.set_faults(Fault(kind="insufficient_quota", times=1))
    with pytest.raises(openai.OpenAIError):
        llm.invoke("one")
    assert llm.invoke("one").content
    books.agree(2)


def test_an_answer_of_one_run_is_asked_for_anew_each_time(llm, books):
    assert all(inside_a_run((llm, "one"), (llm, "one"), (llm, "one")))
    books.agree(3)


# --- fallbacks --------------------------------------------------------------------------------------------


def test_a_fallback_to_another_model_is_asked(make, provider, books, run):
    keeper = books.keeper(retry=QUICK)
    provider.set_faults(Fault(kind="server_error", model="gpt-4o-mini"))
    llm = keeper.wrap(make("chat")).with_fallbacks([keeper.wrap(make("anthropic"))])
    assert llm.invoke("hello").content
    assert run(llm.ainvoke("hello")).content
    assert books.agree(8).statuses == {500: 6, 200: 2}


def test_a_fallback_to_the_same_model_with_other_settings_is_asked(llm, provider, books, run):
    provider.set_faults(Fault(kind="insufficient_quota", times=1))
    assert llm.bind(max_tokens=50).with_fallbacks([llm.bind(max_tokens=5)]).invoke("hello").content
    books.agree(2)


def test_a_batch_whose_calls_all_fail_is_bounded_call_by_call(llm, provider, books):
    provider.set_faults(Fault(kind="server_error"))
    with pytest.raises(openai.InternalServerError):
        llm.with_retry(stop_after_attempt=3, **NO_JITTER).batch(["a", "b", "c", "d"])
    # What the retry budget holds, at most: 100 // 14 retries, and one that is lent.
    assert provider.report().requests <= 4 + 8
    books.nothing_is_held()


def test_tasks_of_one_run_that_fail_together_each_get_their_own_answer(llm, provider, books, run):
    provider.set_faults(Fault(kind="server_error", times=2))

    async def ask(_, config):
        return await asyncio.gather(*(llm.ainvoke("one", config) for _ in range(3)))

    answers = run(RunnableLambda(ask).ainvoke({}))
    assert all(answer.content for answer in answers)
    books.agree(5)
