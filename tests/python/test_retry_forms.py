"""Retries of generators, methods and blocks of code."""

import asyncio
import functools
import inspect

import pytest
from retrying import Provider, ProviderError

import ratekeeper as rk
from ratekeeper.testing import retry_without_waiting


@pytest.fixture(autouse=True)
def waits():
    with retry_without_waiting() as waits:
        yield waits


# --- generators ---------------------------------------------------------------------------------------------


def stream_of(provider, *, breaks_at=None):
    @rk.retry(attempts=4)
    def stream(count):
        provider()
        for number in range(count):
            if number == breaks_at:
                raise ProviderError(503)
            yield number
        return "end"

    return stream


def async_stream_of(provider, *, breaks_at=None):
    @rk.retry(attempts=4)
    async def stream(count):
        provider()
        for number in range(count):
            if number == breaks_at:
                raise ProviderError(503)
            yield number

    return stream


async def collected(items, into):
    async for item in items:
        into.append(item)
    return into


def test_a_stream_is_retried_until_its_first_item(run):
    provider = Provider(ProviderError(503), ProviderError(429))
    stream = stream_of(provider)
    assert inspect.isgeneratorfunction(stream)
    items = stream(3)
    assert provider.calls == 0, "nothing runs before it is asked for"
    assert list(items) == [0, 1, 2]
    provider = Provider(ProviderError(503), ProviderError(429))
    stream = async_stream_of(provider)
    assert inspect.isasyncgenfunction(stream)
    assert run(collected(stream(3), [])) == [0, 1, 2]
    assert provider.calls == 3


def test_what_was_streamed_already_is_not_streamed_again(run):
    provider = Provider()
    items = stream_of(provider, breaks_at=2)(4)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ProviderError):
        next(items)
    seen = []
    with pytest.raises(ProviderError):
        run(collected(async_stream_of(provider, breaks_at=2)(4), seen))
    assert (provider.calls, seen) == (2, [0, 1])


def test_a_stream_that_never_begins_fails_with_its_own_error(run, waits):
    provider = Provider(ProviderError(503), times=99)
    with pytest.raises(ProviderError):
        next(stream_of(provider)(1))
    with pytest.raises(ProviderError):
        run(collected(async_stream_of(provider)(1), []))
    assert (provider.calls, len(waits)) == (8, 6)


def test_an_empty_stream_is_an_answer(run):
    provider = Provider(ProviderError(503))

    def value():
        return (yield from stream_of(provider)(0))

    with pytest.raises(StopIteration) as end:
        next(value())
    assert (end.value.value, provider.calls) == ("end", 2)
    assert run(collected(async_stream_of(Provider(ProviderError(503)))(0), [])) == []


def test_a_generator_is_sent_to_thrown_into_and_closed_as_if_it_were_bare():
    log = []

    @rk.retry()
    def talk():
        try:
            log.append((yield 1))
            try:
                yield 2
            except KeyError as error:
                log.append(type(error))
            yield 3
            return "end"
        finally:
            log.append("closed")

    talking = talk()
    assert next(talking) == 1
    assert talking.send("hello") == 2
    assert talking.throw(KeyError()) == 3
    with pytest.raises(StopIteration) as end:
        next(talking)
    assert end.value.value == "end"
    early = talk()
    next(early)
    early.close()
    assert log == ["hello", KeyError, "closed", "closed"]


def test_an_async_generator_is_sent_to_thrown_into_and_closed_as_if_it_were_bare(run):
    log = []

    @rk.retry()
    async def talk():
        try:
            log.append((yield 1))
            try:
                yield 2
            except KeyError as error:
                log.append(type(error))
            yield 3
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async def main():
        talking = talk()
        assert await talking.asend(None) == 1
        assert await talking.asend("hello") == 2
        assert await talking.athrow(KeyError()) == 3
        with pytest.raises(StopAsyncIteration):
            await talking.asend(None)
        early = talk()
        await early.asend(None)
        await early.aclose()
        failing = talk()
        await failing.asend(None)
        with pytest.raises(KeyError):
            await failing.athrow(KeyError())

    run(main())
    assert log == ["hello", KeyError, "closed", "closed", "closed"]


# --- methods and other callables ----------------------------------------------------------------------------


class Client:
    def __init__(self):
        self.provider = Provider(ProviderError(503), times=1)

    @rk.retry()
    def ask(self, question):
        return self.provider(question)

    @rk.retry()
    async def ask_async(self, question):
        return self.provider(question)

    @rk.retry()
    @staticmethod
    def outer_static(provider):
        return provider("static")

    @staticmethod
    @rk.retry()
    def inner_static(provider):
        return provider("static")

    @rk.retry()
    @classmethod
    def outer_class(cls, provider):
        return provider(cls.__name__)

    @classmethod
    @rk.retry()
    def inner_class(cls, provider):
        return provider(cls.__name__)

    def __call__(self, question):
        return self.provider(question)


def failing_once():
    return Provider(ProviderError(503))


def test_methods_of_every_kind_are_retried(run):
    client = Client()
    assert client.ask("why") == "why"
    assert client.provider.calls == 2
    assert run(Client().ask_async(question="how")) == "how"
    for owner in (Client, client):
        assert owner.outer_static(failing_once()) == owner.inner_static(failing_once()) == "static"
        assert owner.outer_class(failing_once()) == owner.inner_class(failing_once()) == "Client"


def test_callable_objects_and_partials_are_retried(run):
    assert rk.retry()(Client())("why") == "why"
    assert rk.retry()(functools.partial(Client().provider, "how"))() == "how"

    class Asking:
        provider = failing_once()

        async def __call__(self, question):
            return self.provider(question)

    async def stream(provider):
        yield provider()

    assert run(rk.retry()(Asking())("why")) == "why"
    assert run(rk.retry()(functools.partial(Client().ask_async, "what"))()) == "what"
    assert run(collected(rk.retry()(functools.partial(stream, failing_once()))(), [])) == ["answer"]


# --- the context form ---------------------------------------------------------------------------------------


def tried(provider, **settings):
    for attempt in rk.retry_context(**settings):
        with attempt:
            answer = provider()
    return answer


async def tried_async(provider, **settings):
    async for attempt in rk.retry_context(**settings):
        with attempt:
            await asyncio.sleep(0)
            answer = provider()
    return answer


def test_a_block_is_tried_again_until_it_succeeds(waits):
    provider = Provider(ProviderError(503), ProviderError(429))
    numbers = []
    for attempt in rk.retry_context():
        with attempt:
            numbers.append(attempt.number)
            answer = provider()
    assert (answer, numbers, len(waits)) == ("answer", [1, 2, 3], 2)


def test_a_block_in_a_coroutine_is_tried_again_until_it_succeeds(run, waits):
    provider = Provider(ProviderError(503), ProviderError(429))
    assert run(tried_async(provider)) == "answer"
    assert (provider.calls, len(waits)) == (3, 2)


def test_what_a_block_fails_with_in_the_end_comes_out_as_it_was(run):
    provider = Provider(*[ProviderError(503) for _ in range(9)])
    with pytest.raises(ProviderError) as caught:
        tried(provider, attempts=3)
    assert caught.value is provider.errors[2]
    with pytest.raises(ProviderError) as caught:
        run(tried_async(provider, on=KeyError))
    assert caught.value is provider.errors[3]


def test_a_context_can_be_used_again():
    context = rk.retry_context(attempts=2)
    for _ in range(3):
        provider = failing_once()
        for attempt in context:
            with attempt:
                provider()
        assert provider.calls == 2


def test_a_loop_without_its_with_is_told_so(run):
    with pytest.raises(RuntimeError, match="with attempt"):
        list(rk.retry_context())
    with pytest.raises(RuntimeError, match="with attempt"):
        run(collected(rk.retry_context(), []))


def test_leaving_a_block_early_is_a_success(clock):
    budget = rk.RetryBudget(clock=clock)
    budget.try_take("overload")
    for attempt in rk.retry_context(budget=budget):
        with attempt:
            break
    assert budget.balance == 87


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_a_block_lets_what_ends_a_program_pass(error):
    provider = Provider(error, times=3)
    with pytest.raises(type(error)):
        tried(provider, on=lambda _: True)
    assert provider.calls == 1


def test_a_plain_loop_does_not_stop_an_event_loop(run):
    async def main():
        return tried(Provider(ProviderError(503)))

    with pytest.raises(rk.EventLoopBlockedError, match="async for"):
        run(main())
