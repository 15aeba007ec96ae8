"""What is refused, by the provider or by us, on its way through CrewAI's retries, timeouts and delegation."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from crewai import Process

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply, ToolCall

TOPIC = {"topic": "tides"}
FAST = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
DELEGATE = ToolCall(
    name="delegate_work_to_coworker", arguments={"task": "Look", "context": "Tides", "coworker": "researcher"}
)


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "azure", "bedrock", "litellm"])
def test_a_permanent_429_makes_as_many_requests_as_the_policy_says(kind, llm, crew, books, provider):
    """Unwrapped it were 27 on OpenAI: the SDK, CrewAI's LLM and its agent each try three times."""
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    wrapped = books.keeper(retry=FAST).wrap_crew(crew(llm(kind)))
    with pytest.raises(Exception, match=r"(?i)429|rate|throttl|exhausted") as caught:
        wrapped.kickoff(TOPIC)
    assert not isinstance(caught.value, rk.RatekeeperError)
    assert books.agree(3).statuses == {429: 3}


def test_the_providers_exception_comes_out_of_a_crew_with_its_headers(llm, crew, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05))
    keeper = books.keeper(retry=FAST)
    with pytest.raises(openai.RateLimitError) as caught:
        keeper.wrap_crew(crew(llm())).kickoff(TOPIC)
    assert float(caught.value.response.headers["retry-after-ms"]) == 50
    assert keeper.last_error() is caught.value


def test_a_second_kickoff_is_not_answered_with_what_the_first_gave_up(llm, crew, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=0.05, times=3))
    wrapped = books.keeper(retry=FAST).wrap_crew(crew(llm()))
    with pytest.raises(openai.RateLimitError):
        wrapped.kickoff(TOPIC)
    assert wrapped.kickoff(TOPIC).raw
    assert books.agree(4).statuses == {429: 3, 200: 1}


def test_retry_after_holds_ten_crews_of_one_key(llm, crew, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=3, times=1))
    keeper = books.keeper(rk.Quota(rpm=60_000, concurrency=1), retry=FAST)
    crews = [keeper.wrap_crew(crew(llm())) for _ in range(10)]
    with ThreadPoolExecutor(10) as threads:
        assert len(list(threads.map(lambda one: one.kickoff(TOPIC), crews))) == 10
    refused, *others = books.agree(11).arrivals()
    assert min(others) - refused >= 3


@pytest.mark.parametrize("way", ["kickoff", "akickoff", "kickoff_for_each"])
def test_a_refusal_of_ours_comes_out_of_a_crew_as_itself(way, llm, crew, books, provider):
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 1, per=3600)), headroom=0, timeout=0.05)
    wrapped = keeper.wrap_crew(crew(llm()))
    wrapped.kickoff(TOPIC)
    begin = {
        "kickoff": lambda: wrapped.kickoff(TOPIC),
        "akickoff": lambda: asyncio.run(wrapped.akickoff(TOPIC)),
        "kickoff_for_each": lambda: wrapped.kickoff_for_each([TOPIC]),
    }
    with pytest.raises(rk.QuotaExceededError) as caught:
        begin[way]()
    assert caught.value.dimension == "requests"
    assert provider.report().requests == 1
    assert len(books.of("refused")) == 1  # CrewAI's agent has not asked again


def test_a_refusal_comes_out_of_a_stream_as_itself(llm, crew, books, provider):
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 1, per=3600)), headroom=0, timeout=0.05)
    wrapped = keeper.wrap_crew(crew(llm(), stream=True))
    list(wrapped.kickoff(TOPIC))
    with pytest.raises(rk.QuotaExceededError):
        list(wrapped.kickoff(TOPIC))
    assert provider.report().requests == 1


def test_a_refusal_comes_out_of_a_task_with_a_time_limit_as_itself(llm, agent, crew, books, provider):
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 1, per=3600)), headroom=0, timeout=0.05)
    wrapped = keeper.wrap_crew(crew(None, agents=[agent(llm(), max_execution_time=20)]))
    wrapped.kickoff(TOPIC)
    with pytest.raises(rk.QuotaExceededError):
        wrapped.kickoff(TOPIC)
    assert provider.report().requests == 1


def test_a_refusal_that_delegation_swallows_is_raised_at_the_next_call(llm, crew, books, provider):
    """The manager's first call is the only one there is room for; the coworker's refusal becomes a text."""
    provider.script(Reply(tool_calls=[DELEGATE], times=None))
    keeper = books.keeper()
    wrapped = keeper.wrap_crew(crew(llm(), process=Process.hierarchical, manager_llm=llm("anthropic")))
    with pytest.raises(rk.BudgetExceededError):
        keeper.guard(calls=1)(wrapped.kickoff)(TOPIC)
    books.agree(1)


def test_the_latch_holds_for_another_scope_that_has_room(llm, crew, books, provider):
    """Not the manager's own quota says no, but the refusal that stands for the kickoff."""
    provider.script(Reply(tool_calls=[DELEGATE], times=None))
    none = rk.Quota(rk.Limit("requests", 1, per=3600))
    keeper = books.keeper(rk.Quota(concurrency=8), quotas={"openai/*": none}, headroom=0, timeout=0.05)
    keeper.wrap(llm()).call("The one call there is")
    wrapped = keeper.wrap_crew(crew(llm(), process=Process.hierarchical, manager_llm=llm("anthropic")))
    with pytest.raises(rk.QuotaExceededError):
        wrapped.kickoff(TOPIC)
    assert {scope.model: scope.requests for scope in books.agree(2).scopes} == {
        "gpt-4o-mini": 1,
        "claude-haiku-4-5": 1,
    }


@pytest.mark.parametrize("is_whole", [True, False], ids=["wrap_crew", "wrap"])
def test_the_latch_opens_with_the_end_of_the_kickoff(is_whole, llm, crew, books, provider):
    keeper = books.keeper()
    model = keeper.wrap(llm())
    wrapped = keeper.wrap_crew(crew(llm())) if is_whole else crew(model)
    with pytest.raises(rk.BudgetExceededError):
        keeper.guard(calls=1)(lambda: [wrapped.kickoff(TOPIC), wrapped.kickoff(TOPIC)])()
    assert model.call("Hello")
    assert wrapped.kickoff(TOPIC).raw
    books.agree(3)


def test_what_is_asked_twice_outside_of_any_kickoff_is_sent_twice(llm, crew, books, provider):
    """Also after a kickoff that failed, of which CrewAI leaves a trace."""
    provider.set_faults(Fault(kind="server_error"))
    keeper = books.keeper(retry=FAST)
    model = keeper.wrap(llm())
    plain = crew(model)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            model.call("Hello")
        with pytest.raises(openai.InternalServerError):
            plain.kickoff(TOPIC)
    books.agree(12)


def test_the_latch_of_one_keeper_is_not_anothers(llm, agent, crew, books, provider):
    first, second = books.keeper(), books.keeper()
    wrapped, other = first.wrap_crew(crew(llm())), second.wrap(llm())
    asked = []

    def after(_):
        asked.append(other.call("Hello"))

    wrapped.tasks[0].callback = after
    wrapped.kickoff(TOPIC)
    assert asked
    books.agree(2)


def test_a_plain_agent_with_a_wrapped_llm_does_not_multiply_refusals(llm, agent, crew, books, provider):
    """Without `wrap_crew`, too."""
    keeper = books.keeper(rk.Quota(rk.Limit("requests", 1, per=3600)), headroom=0, timeout=0.05)
    plain = crew(keeper.wrap(llm()))
    plain.kickoff(TOPIC)
    with pytest.raises(rk.QuotaExceededError):
        plain.kickoff(TOPIC)
    assert len(books.of("refused")) == 1


def test_connection_errors_are_tried_as_the_policy_says(llm, crew, books, provider):
    keeper = books.keeper(retry=FAST)
    wrapped = keeper.wrap_crew(crew(llm(base_url="http://127.0.0.1:9/v1")))
    with pytest.raises((ConnectionError, openai.APIConnectionError, httpx.ConnectError)):
        wrapped.kickoff(TOPIC)
    assert (len(books.of("started")), len(books.of("failed"))) == (3, 3)
    books.nothing_is_held()


def test_a_cancelled_acall_gives_its_place_back_at_once(llm, books, provider, run):
    provider.script(Reply(latency=0.5, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(llm())

    async def main():
        first = asyncio.create_task(wrapped.acall("One"))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(wrapped.acall("Two"))
        await asyncio.sleep(0.1)
        [scope] = keeper.status()["scopes"].values()
        assert scope["waiting"] == 1
        second.cancel()
        began = time.monotonic()
        while next(iter(keeper.status()["scopes"].values()))["waiting"]:
            await asyncio.sleep(0.001)
        assert time.monotonic() - began < 0.1
        assert await first

    run(main())
    books.agree(1)


def test_threads_of_many_crews_lose_no_lease(llm, crew, books):
    keeper = books.keeper(rk.Quota(concurrency=3))
    wrapped = keeper.wrap_crew(crew(llm()))
    threads = [threading.Thread(target=wrapped.copy().kickoff, args=(TOPIC,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    books.agree_in_tokens(4)
