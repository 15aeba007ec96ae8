"""Asynchronous kickoffs that wait: cancelled, they leave the queue at once, and the event loop's threads are not theirs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from crewai import Crew, Task
from crewai.flow.flow import Flow, start
from langchain_openai import ChatOpenAI
from openai import OpenAI

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

TOPIC = {"topic": "tides"}
SOON = 0.1
KINDS = ["openai", "responses", "anthropic", "gemini", "azure", "bedrock", "litellm"]
WAITING = 50


@pytest.fixture
def keeper(books, provider):
    """One call at a time, each of a second and a half."""
    provider.script(Reply(latency=1.5, times=None))
    return books.keeper(rk.Quota(concurrency=1))


@pytest.fixture
def until(keeper):
    """Waits until so many calls wait or are in flight; how long that took."""

    async def until(name, number):
        began = time.monotonic()
        while sum(scope[name] for scope in keeper.status()["scopes"].values()) != number:
            assert time.monotonic() - began < 30
            await asyncio.sleep(0.001)
        return time.monotonic() - began

    return until


@pytest.fixture
def gives_up(until):
    """Starts one that is sent, and one that is cancelled in the queue: how long it took until its place was free."""

    async def main(begin):
        runs = begin(), begin()  # crews and clients are made now: some take a second
        first = asyncio.create_task(runs[0])
        await until("in_flight", 1)
        second = asyncio.create_task(runs[1])
        await until("waiting", 1)
        second.cancel()
        freed = await until("waiting", 0)
        ended = await asyncio.gather(first, second, return_exceptions=True)
        assert not isinstance(ended[0], BaseException)
        assert second.cancelled()
        assert "run_in_executor" not in vars(asyncio.get_running_loop())
        return freed

    return lambda begin: asyncio.run(main(begin))


def flow_of(crew):
    """A flow whose one method is synchronous."""

    class Synchronous(Flow):
        @start()
        def ask(self):
            return crew.kickoff(TOPIC).raw

    return Synchronous(suppress_flow_events=True)


STARTS = {
    "kickoff_async": lambda crew: crew.kickoff_async(TOPIC),
    "akickoff": lambda crew: crew.akickoff(TOPIC),
    "kickoff_for_each_async": lambda crew: crew.kickoff_for_each_async([TOPIC]),
    "akickoff_for_each": lambda crew: crew.akickoff_for_each([TOPIC]),
    "flow": lambda crew: flow_of(crew).kickoff_async(),
}


@pytest.mark.parametrize("way", STARTS)
def test_a_cancelled_crew_leaves_the_queue_and_is_never_sent(*, way, gives_up, llm, crew, keeper, books):
    assert gives_up(lambda: STARTS[way](keeper.wrap_crew(crew(llm())))) < SOON
    books.agree_in_tokens(1)


@pytest.mark.parametrize("way", ["kickoff_async", "akickoff"])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_cancelled_crew_is_never_sent_by_any_client(*, kind, way, gives_up, llm, crew, keeper, books):
    assert gives_up(lambda: STARTS[way](keeper.wrap_crew(crew(llm(kind))))) < SOON
    books.agree_in_tokens(1)


def test_a_cancelled_crew_on_a_langchain_model_is_never_sent(
    *, gives_up, crew, keeper, books, provider, kept
):
    kept.append(ChatOpenAI(model="gpt-4o-mini", api_key="sk-test", base_url=provider.openai_url))
    model = keeper.crewai_llm(kept[-1])
    assert gives_up(lambda: keeper.wrap_crew(crew(model)).akickoff(TOPIC)) < SOON
    books.agree_in_tokens(1)


def test_a_cancelled_agent_with_a_wrapped_llm_is_never_sent(gives_up, llm, agent, keeper, books):
    assert gives_up(lambda: agent(keeper.wrap(llm())).kickoff_async("Tides?")) < SOON
    books.agree_in_tokens(1)


def test_a_cancelled_crew_of_wrapped_llms_is_never_sent(gives_up, llm, crew, keeper, books):
    assert gives_up(lambda: crew(keeper.wrap(llm())).kickoff_async(TOPIC)) < SOON
    books.agree_in_tokens(1)


def test_a_time_limit_in_a_flow_that_blocks_is_kept(llm, crew, keeper, books, eventually):
    class Patient(Flow):
        @start()
        async def ask(self):
            first = asyncio.create_task(keeper.wrap_crew(crew(llm())).akickoff(TOPIC))
            await asyncio.sleep(0.5)
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(keeper.wrap_crew(crew(llm())).akickoff(TOPIC), 0.3)
            took = time.monotonic() - began
            await first
            return took

    assert 0.3 <= Patient().kickoff() < 0.3 + SOON
    books.agree_in_tokens(1)


@pytest.mark.parametrize("way", ["kickoff_async", "akickoff"])
def test_a_stream_that_is_closed_while_it_waits_is_never_sent(*, way, llm, crew, keeper, until, books):
    async def main():
        first = asyncio.create_task(keeper.wrap_crew(crew(llm())).akickoff(TOPIC))
        await until("in_flight", 1)
        stream = await STARTS[way](keeper.wrap_crew(crew(llm(), stream=True)))
        reading = asyncio.create_task(anext(aiter(stream)))
        await until("waiting", 1)
        reading.cancel()
        assert await until("waiting", 0) < SOON
        await asyncio.gather(first, reading, return_exceptions=True)
        await stream.aclose()

    asyncio.run(main())
    books.agree_in_tokens(1)


def test_what_was_sent_already_is_settled_and_nothing_follows(*, llm, crew, keeper, until, books, provider):
    made = crew(llm(), task={"guardrail": lambda output: (False, "Again"), "guardrail_max_retries": 3})

    async def main():
        asked = asyncio.create_task(keeper.wrap_crew(made).kickoff_async(TOPIC))
        while not provider.report().in_flight:
            await asyncio.sleep(0.001)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until("in_flight", 0)
        await asyncio.sleep(0.3)

    asyncio.run(main())
    books.agree_in_tokens(1)


def test_a_cancelled_crew_ends_though_it_runs_tasks_on_threads(llm, agent, keeper, until, books):
    ended = threading.Event()

    class Watched(Crew):
        def kickoff(self, *args, **kwargs):
            try:
                return super().kickoff(*args, **kwargs)
            finally:
                ended.set()

    def made():
        one = agent(llm())
        task = Task(description="Look", expected_output="A line", agent=one, async_execution=True)
        return keeper.wrap_crew(Watched(agents=[one], tasks=[task]))

    async def main():
        first = asyncio.create_task(agent(keeper.wrap(llm())).kickoff_async("Tides?"))
        await until("in_flight", 1)
        second = asyncio.create_task(made().kickoff_async())
        await until("waiting", 1)
        second.cancel()
        assert await until("waiting", 0) < SOON
        await asyncio.gather(first, second, return_exceptions=True)

    asyncio.run(main())
    assert ended.wait(5)
    books.agree_in_tokens(1)


def test_a_refused_call_of_a_cancellable_crew_is_tried_again(llm, crew, books, provider):
    provider.set_faults(Fault(kind="rate_limit", times=1, retry_after=0.05))
    keeper = books.keeper(rk.Quota(concurrency=1), retry=rk.RetryPolicy(attempts=3))
    assert asyncio.run(keeper.wrap_crew(crew(llm())).akickoff(TOPIC)).raw
    books.agree(2)


@pytest.fixture
def held(keeper, provider):
    """Somebody else has the one permit, until the end of a stream that he does not read."""
    with OpenAI(api_key="sk-test", base_url=provider.openai_url) as client:
        messages = [{"role": "user", "content": "Tides?"}]
        asking = keeper.wrap(client).chat.completions
        with asking.create(model="gpt-4o-mini", messages=messages, stream=True):
            yield


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("way", ["kickoff_async", "akickoff", "akickoff_for_each", "flow", "agent"])
def test_waiting_crews_leave_the_loops_threads_to_others(*, way, llm, agent, crew, keeper, until, provider):
    model = llm()

    def begin():
        if way == "agent":
            return agent(keeper.wrap(model)).kickoff_async("Tides?")
        return STARTS[way](keeper.wrap_crew(crew(model)))

    async def main():
        asked = [asyncio.create_task(begin()) for _ in range(WAITING)]
        await until("waiting", WAITING)
        began = time.monotonic()
        await asyncio.get_running_loop().run_in_executor(None, time.monotonic)
        took = time.monotonic() - began
        for one in asked:
            one.cancel()
        await until("waiting", 0)
        await asyncio.gather(*asked, return_exceptions=True)
        return took

    assert asyncio.run(main()) < 0.5  # without threads of their own: never, for nobody gives up the permit
    assert provider.report().requests == 1


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_calls_of_plain_crews_stay_on_the_loops_threads(is_wrapped, llm, crew, books, provider):
    seen = []

    class Looking(type(llm())):
        def call(self, *args, **kwargs):
            seen.append(threading.current_thread().name)
            return super().call(*args, **kwargs)

    model = Looking(model="gpt-4o-mini", api_key="sk-test", base_url=provider.openai_url)
    wrapped = books.keeper().wrap_crew(crew(model))
    asyncio.run((wrapped if is_wrapped else crew(model)).akickoff(TOPIC))
    assert [name.startswith("ratekeeper") for name in seen] == [is_wrapped]


def test_blocking_kickoffs_stay_on_threads_of_crewai(llm, crew, books, provider):
    seen = []

    class Looking(type(llm())):
        def call(self, *args, **kwargs):
            seen.append(threading.current_thread().name)
            return super().call(*args, **kwargs)

    model = Looking(model="gpt-4o-mini", api_key="sk-test", base_url=provider.openai_url)
    books.keeper().wrap_crew(crew(model)).kickoff(TOPIC)
    assert [name.startswith("ratekeeper") for name in seen] == [False]
    books.agree_in_tokens(1)
