"""The guard: so many whole jobs at a time, with tags for the calls inside."""

import asyncio
import contextlib
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
        ({"budget": 5}, rk.ConfigError),
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


# --- calls --------------------------------------------------------------------------------------------------


def test_a_job_makes_no_more_calls_than_it_may_and_the_next_is_not_sent():
    keeper = rk.Keeper()

    @keeper.guard(calls=3, tags={"job": "nightly"})
    def job():
        for made in range(9):
            try:
                call(keeper)
            except rk.BudgetExceededError as error:
                return made, error
        return 9, None

    for _ in range(2):
        made, error = job()
        assert made == 3
        assert (error.tags, error.limit, error.spent) == ({"job": "nightly"}, 3, 3)
    call(keeper)


def test_tasks_of_a_job_share_its_calls_and_jobs_do_not_share_theirs():
    keeper = rk.Keeper()

    async def one():
        try:
            async with keeper.gate("openai", "acct").call(Request("m", "hello")):
                return True
        except rk.BudgetExceededError:
            return False

    @keeper.guard(calls=5)
    async def job():
        return sum(await asyncio.gather(*(one() for _ in range(9))))

    async def main():
        return await asyncio.gather(job(), job())

    assert asyncio.run(main()) == [5, 5]


def test_a_job_inside_a_job_counts_for_both_and_what_the_inner_refuses_costs_the_outer_nothing():
    keeper = rk.Keeper()

    @keeper.guard(calls=2)
    def inner():
        for _ in range(3):
            with contextlib.suppress(rk.BudgetExceededError):
                call(keeper)

    @keeper.guard(calls=5)
    def outer():
        inner()
        made = 2
        with contextlib.suppress(rk.BudgetExceededError):
            for _ in range(9):
                call(keeper)
                made += 1
        return made

    assert outer() == 5


def test_attempts_of_one_call_are_one_call():
    keeper = rk.Keeper(retry=rk.RetryPolicy(attempts=4, wait_initial=0.001, wait_max=0.002))

    @keeper.guard(calls=1)
    def job():
        sent = 0
        for attempt in keeper.gate("generic", "acct").attempts(Request("m", "hello")):
            with attempt:
                sent += 1
                if sent < 3:
                    raise ConnectionResetError
        return sent

    assert job() == 3


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_calls_are_a_whole_number(wrong):
    with pytest.raises(rk.ConfigError, match="calls: expected a whole number"):
        rk.Keeper().guard(calls=wrong)
