"""The guard: so many whole jobs at a time, with tags for the calls inside."""

import asyncio
import functools
import inspect
import threading
import typing

import pytest

import ratekeeper as rk
from ratekeeper.gate import Options
from ratekeeper.providers import Request


def call(keeper):
    with keeper.gate("openai", "acct", Options(timeout=0.1)).call(Request("m", "hello")):
        pass


def test_a_guard_lets_so_many_jobs_run_at_a_time_in_order_of_arrival():
    started, running, peak = [], 0, 0

    @rk.Keeper().guard(concurrency=2)
    async def kickoff(name):
        nonlocal running, peak
        started.append(name)
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1
        return name

    async def main():
        return await asyncio.wait_for(asyncio.gather(*(kickoff(name) for name in range(6))), 10)

    assert asyncio.run(main()) == started == list(range(6))
    assert peak == 2


def test_a_guard_serves_threads_too_and_frees_its_place_when_the_job_fails():
    @rk.Keeper().guard(concurrency=1, timeout=30)
    def kickoff(number):
        if number % 2:
            raise ValueError(number)
        return number

    results = []

    def run(number):
        try:
            results.append(kickoff(number))
        except ValueError as error:
            results.append(error.args[0])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == list(range(10))


def test_a_job_that_finds_no_place_in_time_is_refused_and_never_runs():
    keeper = rk.Keeper(clock=rk.ManualClock())
    ran = []

    @keeper.guard(concurrency=1, timeout=5)
    async def kickoff(seconds):
        ran.append(seconds)
        await asyncio.sleep(seconds)

    async def main():
        first = asyncio.create_task(kickoff(3600))
        await asyncio.sleep(0)
        second = asyncio.create_task(kickoff(0))
        await asyncio.sleep(0)
        keeper._clock.advance(5)
        with pytest.raises(rk.QuotaExceededError):
            await asyncio.wait_for(second, 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await kickoff(0)

    asyncio.run(main())
    assert ran == [3600, 0]


def test_a_guard_tags_the_calls_inside_and_keeps_the_signature():
    keeper = rk.Keeper(rk.Quota(rpm=10), tenants={"acme": rk.Quota(rpm=1)}, clock=rk.ManualClock())

    @keeper.guard(tags={"tenant": "acme", "crew": "research"})
    def kickoff(topic: str, *, deep: bool = False) -> str:
        """Researches."""
        call(keeper)
        return topic

    assert kickoff("x", deep=True) == "x"
    with pytest.raises(rk.QuotaExceededError):
        kickoff("y")
    call(keeper)
    assert (kickoff.__name__, kickoff.__doc__) == ("kickoff", "Researches.")
    assert list(inspect.signature(kickoff).parameters) == ["topic", "deep"]
    assert typing.get_type_hints(kickoff)["deep"] is bool


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"concurrency": 0}, rk.ConfigError),
        ({"concurrency": 1.5}, rk.ConfigError),
        ({"concurrency": True}, rk.ConfigError),
        ({"timeout": -1}, rk.ConfigError),
        ({"tags": {"tenant": 7}}, TypeError),
        ({"tags": "acme"}, rk.ConfigError),
        ({"budget": 5}, TypeError),
    ],
)
def test_a_guard_refuses_what_makes_no_sense(arguments, error):
    with pytest.raises(error):
        rk.Keeper().guard(**arguments)


def test_a_guard_refuses_generators():
    def steps():
        yield 1

    with pytest.raises(TypeError, match="generator"):
        rk.Keeper().guard(concurrency=1)(steps)


def test_a_partial_of_a_coroutine_function_runs_inside_the_guard():
    running, peak = 0, 0

    async def kickoff(name):
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1
        return name

    guarded = rk.Keeper().guard(concurrency=1)(functools.partial(functools.partial(kickoff), "crew"))

    async def main():
        return await asyncio.wait_for(asyncio.gather(*(guarded() for _ in range(3))), 10)

    assert asyncio.run(main()) == ["crew"] * 3
    assert peak == 1


@pytest.mark.parametrize(
    "decorator", [rk.Keeper().guard(concurrency=1), rk.tags(job="a"), rk.Throttle("9/s")]
)
def test_a_plain_function_that_returns_a_coroutine_is_told_that_it_would_run_outside(decorator):
    async def kickoff():
        raise AssertionError("this never starts")

    with pytest.raises(TypeError, match="decorate the coroutine function"):
        decorator(lambda: kickoff())()
