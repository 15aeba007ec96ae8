"""The throttle as a decorator: rates by key for sync and async functions."""

import asyncio
import typing

import pytest

import ratekeeper as rk


@pytest.fixture
def clock():
    return rk.ManualClock()


def test_a_decorated_function_runs_at_once_while_the_rate_allows_it(clock):
    throttle = rk.Throttle("3/s", clock=clock)

    @throttle
    def search(query: str, *, limit: int = 3) -> list[str]:
        """Searches."""
        return [query] * limit

    assert search("x") == ["x"] * 3
    assert search(query="y", limit=1) == ["y"]
    assert (search.__name__, search.__doc__) == ("search", "Searches.")
    assert typing.get_type_hints(search)["query"] is str


def test_a_call_over_the_rate_is_told_when_it_could_run(clock):
    @rk.Throttle("2/s", timeout=0.1, clock=clock)
    def search():
        return "found"

    assert [search(), search()] == ["found", "found"]
    with pytest.raises(rk.QuotaExceededError) as caught:
        search()
    assert 0 < caught.value.retry_after <= 0.5
    clock.advance(0.5)
    assert search() == "found"


def test_keys_have_rates_of_their_own(clock):
    throttle = rk.Throttle("1/s", key=lambda tenant, *_, **__: tenant, timeout=0.1, clock=clock)

    @throttle
    def search(tenant, query=""):
        return tenant

    assert [search("a"), search("b", query="x"), search("c", "y")] == ["a", "b", "c"]
    with pytest.raises(rk.QuotaExceededError):
        search("a")
    assert len(throttle) == 3


def test_a_coroutine_function_waits_without_blocking_its_loop(clock):
    finished = []

    @rk.Throttle("1/s", clock=clock)
    async def search(query):
        finished.append(query)

    async def main():
        tasks = [asyncio.create_task(search(name)) for name in "abc"]
        seen = []
        for _ in range(3):
            for _ in range(5):
                await asyncio.sleep(0)
            seen.append(list(finished))
            clock.advance(1)
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        return seen

    assert asyncio.iscoroutinefunction(search)
    assert asyncio.run(main()) == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_a_failing_function_fails_with_its_own_error(clock):
    @rk.Throttle("5/s", clock=clock)
    def search():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search()


def test_a_key_must_be_a_function_that_gives_texts(clock):
    with pytest.raises(TypeError, match="expected a function of the call's arguments, got str"):
        rk.Throttle("1/s", key="tenant")

    @rk.Throttle("1/s", key=lambda number: number, clock=clock)
    def search(number):
        return number

    with pytest.raises(TypeError, match="expected the function to return a str, it returned int"):
        search(7)


def test_generators_cannot_be_throttled(clock):
    def numbers():
        yield 1

    with pytest.raises(TypeError, match="generator"):
        rk.Throttle("1/s", clock=clock)(numbers)


@pytest.mark.parametrize("rate", ["", "10", "0/s", "-1/s", "ten/s", "10/fortnight", "nan/s"])
def test_a_rate_that_makes_no_sense_is_refused(rate):
    with pytest.raises(rk.ConfigError):
        rk.Throttle(rate)


def test_the_plain_object_still_acquires_and_asks(clock):
    throttle = rk.Throttle("1/s", clock=clock)
    assert throttle.try_acquire("a")
    assert not throttle.try_acquire("a")
    with throttle.acquire("b"):
        assert len(throttle) == 2
