"""One retry inside another: the innermost owns it, so requests do not multiply."""

import asyncio
import pickle
import sys
from dataclasses import dataclass

import pytest
from retrying import Provider, ProviderError

import ratekeeper as rk
from ratekeeper.testing import retry_without_waiting


@pytest.fixture(autouse=True)
def waits():
    with retry_without_waiting() as waits:
        yield waits


class AppError(Exception):
    pass


def inner_of(provider, **settings):
    return rk.retry(attempts=3, **settings)(provider)


def fails(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever comes out is looked at)
        function()
    return caught.value


def outage():
    return Provider(ProviderError(503), times=999)


def test_nested_retries_do_not_multiply():
    provider = outage()
    error = fails(rk.retry(on=Exception)(rk.retry()(rk.retry()(inner_of(provider)))))
    assert type(error) is ProviderError
    assert provider.calls == 3


def test_nested_async_retries_do_not_multiply(run):
    provider = outage()

    @rk.retry(on=Exception)
    @rk.retry(attempts=3)
    async def ask():
        provider()

    async def main():
        async for attempt in rk.retry_context(on=Exception):
            with attempt:
                await asyncio.gather(asyncio.ensure_future(ask()))

    with pytest.raises(ProviderError):
        run(main())
    assert provider.calls == 3


def test_it_is_known_through_raise_from():
    provider = outage()

    def ask():
        try:
            inner_of(provider)()
        except ProviderError as error:
            raise AppError("no answer") from error

    assert type(fails(rk.retry(on=AppError)(ask))) is AppError
    assert provider.calls == 3


def test_it_is_known_where_another_error_was_raised_while_it_was_handled():
    provider = outage()

    def ask():
        try:
            inner_of(provider)()
        except ProviderError:
            raise AppError("no answer")  # noqa: B904 (as many programs do)

    fails(rk.retry(on=AppError)(ask))
    assert provider.calls == 3


def test_what_hides_its_origin_on_purpose_is_an_error_of_its_own():
    provider = outage()

    def ask():
        try:
            inner_of(provider)()
        except ProviderError:
            raise AppError("no answer") from None

    fails(rk.retry(on=AppError, attempts=2)(ask))
    assert provider.calls == 6


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_it_is_known_inside_of_exception_groups(run):
    provider = outage()

    @rk.retry(on=Exception)
    async def all_of_them():
        async with asyncio.TaskGroup() as group:
            group.create_task(rk.retry(attempts=3)(as_coroutine(provider))())

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 (of 3.11)
        run(all_of_them())
    assert caught.value.exceptions[0] in provider.errors
    assert provider.calls == 3


def as_coroutine(function):
    async def call():
        return function()

    return call


def test_an_error_that_its_own_cause_leads_back_to_is_looked_at_and_not_for_ever():
    first, second = ProviderError(503), AppError()
    first.__cause__, second.__cause__ = second, first
    provider = Provider(first, second, first)
    assert rk.retry(on=Exception)(provider)() == "answer"


def test_what_the_inner_retry_does_not_care_for_is_the_outer_ones():
    provider = Provider(ValueError("no JSON"), ProviderError(503), ValueError("no JSON"))
    assert rk.retry(on=ValueError)(rk.retry()(provider))() == "answer"
    assert provider.calls == 4


def test_an_inner_retry_that_is_out_of_budget_or_told_to_wait_too_long_is_final_too(clock):
    provider = Provider(ProviderError(429, retry_after="1000"), times=9)
    fails(rk.retry(on=Exception, timeout=None)(rk.retry()(provider)))
    assert provider.calls == 1
    budget = rk.RetryBudget(14, clock=clock)
    provider = outage()
    fails(rk.retry(on=Exception)(rk.retry(budget=budget)(provider)))
    assert provider.calls == 3


def test_a_fallback_after_a_retry_is_retried_by_itself():
    fallback = Provider(ProviderError(503), ProviderError(503))

    def ask():
        try:
            return inner_of(outage())()
        except ProviderError:
            return rk.retry()(fallback)()

    assert ask() == "answer"
    assert fallback.calls == 3


def test_an_exception_object_that_is_raised_in_call_after_call_is_retried_in_each():
    error = ProviderError(503)
    for _ in range(3):
        provider = Provider(error, times=9)
        fails(inner_of(provider))
        assert provider.calls == 3


def test_a_mark_survives_pickling_and_classes_that_forbid_attributes():
    @dataclass(frozen=True)
    class Frozen(Exception):
        status_code: int

    provider = Provider(Frozen(503), times=99)
    fails(rk.retry()(inner_of(provider)))
    assert provider.calls == 3

    provider = outage()

    def in_another_process():
        raise pickle.loads(pickle.dumps(fails(inner_of(provider))))

    fails(rk.retry()(in_another_process))
    assert provider.calls == 3


def test_a_generator_inside_a_retry_does_not_multiply():
    provider = outage()

    @rk.retry(attempts=3)
    def stream():
        provider()
        yield 1

    fails(rk.retry(on=Exception)(lambda: list(stream())))
    assert provider.calls == 3


def test_a_blocked_event_loop_is_no_reason_for_an_outer_retry(run):
    provider = outage()

    @rk.retry(on=Exception)
    async def ask():
        return rk.retry()(provider)()

    with pytest.raises(rk.EventLoopBlockedError):
        run(ask())
    assert provider.calls == 1
