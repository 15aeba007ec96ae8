"""`rk.retry` on functions: what is retried, for how long, and what comes out in the end."""

import asyncio
import inspect
import sys
import time
import typing
from datetime import timedelta

import pytest
from retrying import Provider, ProviderError, note_of

import ratekeeper as rk
from ratekeeper.testing import retry_without_waiting

HAS_NOTES = hasattr(BaseException, "add_note")


@pytest.fixture
def waits():
    with retry_without_waiting() as waits:
        yield waits


def test_a_call_that_fails_for_a_while_ends_with_its_answer(waits):
    provider = Provider(ProviderError(503), ProviderError(429), ConnectionRefusedError())
    assert rk.retry()(provider)("fine") == "fine"
    assert provider.calls == 4
    for wait, backoff in zip(waits, (1, 2, 4), strict=True):
        assert 0 <= wait <= backoff


def test_a_coroutine_function_is_retried_and_stays_one(run, waits):
    provider = Provider(ProviderError(500), ProviderError(502))

    @rk.retry()
    async def ask(question: str) -> str:
        """Asks."""
        return provider(question)

    assert inspect.iscoroutinefunction(ask)
    assert (ask.__name__, ask.__doc__) == ("ask", "Asks.")
    assert typing.get_type_hints(ask)["question"] is str
    assert run(ask("why")) == "why"
    assert (provider.calls, len(waits)) == (3, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_fails_for_good_is_sent_once_and_bears_no_note(waits, status):
    provider = Provider(ProviderError(status), times=5)
    with pytest.raises(ProviderError) as caught:
        rk.retry()(provider)()
    assert (provider.calls, waits, note_of(caught.value)) == (1, [], "")


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine"), AssertionError(), StopIteration()])
def test_the_programs_own_errors_are_not_retried_by_default(waits, error):
    provider = Provider(error, times=5)
    with pytest.raises(type(error)):
        rk.retry()(provider)()
    assert provider.calls == 1


def test_what_ratekeeper_refuses_is_not_retried_by_default(waits):
    refusal = rk.QuotaExceededError("full", scope="s", dimension="requests", retry_after=1.0)
    provider = Provider(refusal, times=5)
    with pytest.raises(rk.QuotaExceededError):
        rk.retry()(provider)()
    assert provider.calls == 1


def test_who_asks_for_a_refusal_to_be_retried_waits_as_long_as_it_says(waits):
    refusal = rk.QuotaExceededError("full", scope="s", dimension="requests", retry_after=20.0)
    rk.retry(on=rk.QuotaExceededError)(Provider(refusal))()
    assert 20 <= waits[0] <= 24


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError()]
)
def test_what_ends_a_program_or_a_task_is_never_caught(waits, error):
    provider = Provider(error, times=3)
    with pytest.raises(type(error)):
        rk.retry(on=lambda _: True)(provider)()
    assert (provider.calls, waits) == (1, [])


def test_the_last_exception_comes_out_as_it_was(waits):
    errors = [ProviderError(503) for _ in range(3)]
    with pytest.raises(ProviderError) as caught:
        rk.retry(attempts=3)(Provider(*errors))()
    assert caught.value is errors[-1]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.skipif(not HAS_NOTES, reason="exceptions have notes from Python 3.11 on")
def test_its_note_says_what_was_tried(waits):
    def last(provider, **settings):
        with pytest.raises(ProviderError) as caught:
            rk.retry(**settings)(provider)()
        return note_of(caught.value)

    note = last(Provider(ProviderError(503), times=3), attempts=3)
    assert note.startswith("ratekeeper: 3 attempts in ")
    assert f"{sum(waits):.1f} s waiting" in note
    assert note.endswith("no attempts are left")
    note = last(Provider(ProviderError(503), ProviderError(400)))
    assert note.startswith("ratekeeper: 2 attempts in ")
    assert note.endswith("the last one failed in a way that is not retried")
    assert "after the 0.5 s allowed" in last(
        Provider(ProviderError(503), times=9), timeout=0.5, on=lambda _: 0.2
    )


# --- how long -----------------------------------------------------------------------------------------------


def test_a_provider_that_says_when_is_believed(waits):
    provider = Provider(ProviderError(429, retry_after="8"), ProviderError(503, retry_after="20"))
    rk.retry()(provider)()
    assert 8 <= waits[0] <= 9.6
    assert 20 <= waits[1] <= 24


@pytest.mark.parametrize("nonsense", ["-5", "nan", "soon", "", "0", "1e400"])
def test_a_provider_that_talks_nonsense_is_not_believed(waits, nonsense):
    rk.retry()(Provider(ProviderError(429, retry_after=nonsense)))()
    assert len(waits) == 1
    assert waits[0] <= 1


def test_a_wait_that_would_be_in_vain_is_not_begun(waits):
    provider = Provider(ProviderError(429, retry_after="121"), times=3)
    with pytest.raises(ProviderError) as caught:
        rk.retry()(provider)()
    assert (provider.calls, waits) == (1, [])
    if HAS_NOTES:
        assert "the provider asks for a wait of 121 s" in note_of(caught.value)


def test_no_attempt_starts_after_the_time_allowed(waits):
    provider = Provider(ProviderError(503), times=1000)
    with pytest.raises(ProviderError):
        rk.retry(attempts=None, timeout=300)(provider)()
    assert sum(waits) <= 300
    assert provider.calls == len(waits) + 1 > 10


def test_without_bounds_it_goes_on(waits):
    provider = Provider(ProviderError(503), times=500)
    assert rk.retry(attempts=None, timeout=None)(provider)() == "answer"
    assert provider.calls == 501
    assert max(waits) <= 30


def test_it_really_waits_and_other_tasks_run_meanwhile(run):
    provider = Provider(ProviderError(503))
    ticks = []

    @rk.retry(on=lambda _: 0.05)
    async def ask():
        return provider()

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.005)

    async def main():
        ticking = asyncio.ensure_future(tick())
        begin = time.monotonic()
        await ask()
        ticking.cancel()
        return time.monotonic() - begin

    assert run(main()) >= 0.049
    assert len(ticks) > 1
    begin = time.monotonic()
    rk.retry(on=lambda _: timedelta(seconds=0.05))(Provider(ProviderError(503)))()
    assert time.monotonic() - begin >= 0.049


def test_a_cancelled_wait_ends_at_once(run):
    provider = Provider(ProviderError(503))

    @rk.retry(on=lambda _: 600.0, timeout=None)
    async def ask():
        return provider()

    async def main():
        task = asyncio.ensure_future(ask())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert provider.calls == 1


def test_a_sync_retry_does_not_stop_an_event_loop(run, waits):
    provider = Provider(ProviderError(503), times=2)

    async def main():
        with pytest.raises(rk.EventLoopBlockedError, match="async") as caught:
            rk.retry()(provider)()
        assert caught.value.__cause__ is provider.errors[0]
        return await asyncio.to_thread(rk.retry()(provider))

    assert run(main()) == "answer"
    assert provider.calls == 3


# --- on= ----------------------------------------------------------------------------------------------------


def test_exceptions_to_be_retried_can_be_named(waits):
    for on in (ValueError, (KeyError, ValueError), (LookupError, ArithmeticError, ValueError)):
        provider = Provider(ValueError("no JSON"), ValueError("no JSON"))
        assert rk.retry(on=on)(provider)() == "answer"
        other = Provider(ProviderError(503))
        with pytest.raises(ProviderError):
            rk.retry(on=on)(other)()
        assert other.calls == 1


def test_a_predicate_decides_by_the_exception(waits):
    provider = Provider(ProviderError(404), ProviderError(404), ProviderError(401))
    with pytest.raises(ProviderError, match="401"):
        rk.retry(on=lambda error: error.status_code == 404)(provider)()
    assert provider.calls == 3


@pytest.mark.parametrize(("answer", "wait"), [(3, 3), (0.25, 0.25), (0, 0), (timedelta(seconds=40), 40)])
def test_a_predicate_may_say_just_how_long_to_wait(waits, answer, wait):
    rk.retry(on=lambda _: answer)(Provider(ValueError(), ValueError()))()
    assert waits == [wait, wait]


@pytest.mark.parametrize("answer", [-1, float("nan"), float("inf"), 1e12])
def test_a_predicates_wait_that_makes_no_sense_is_an_error(waits, answer):
    with pytest.raises(rk.ConfigError) as caught:
        rk.retry(on=lambda _: answer)(Provider(ValueError()))()
    assert caught.value.field == "on"


def test_a_predicate_that_returns_neither_is_an_error(waits):
    with pytest.raises(TypeError, match="it returned NoneType"):
        rk.retry(on=lambda _: None)(Provider(ValueError()))()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_a_group_of_failures_is_retried_where_it_is_named(waits):
    provider = Provider(ExceptionGroup("all", [ValueError()]), ValueError())  # noqa: F821 (of 3.11)
    assert rk.retry(on=(ExceptionGroup, ValueError))(provider)() == "answer"  # noqa: F821


@pytest.mark.parametrize(
    "on", [KeyboardInterrupt, asyncio.CancelledError, (ValueError, BaseException), (1,), 5, "ValueError"]
)
def test_what_cannot_be_retried_cannot_be_named(on):
    with pytest.raises(TypeError, match=r"retry\(on=...\)"):
        rk.retry(on=on)


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("wait_initial", 0),
        ("wait_initial", -1),
        ("wait_max", 0.5),
        ("wait_max", 1e9),
        ("jitter", "none"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    for make in (rk.retry, rk.retry_context, rk.RetryPolicy):
        with pytest.raises(rk.ConfigError, match=field) as caught:
            make(**{field: value})
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"), [("attempts", "3"), ("attempts", True), ("timeout", "1"), ("wait_max", "1")]
)
def test_settings_of_the_wrong_type_are_refused_by_name(field, value):
    with pytest.raises(TypeError, match=field):
        rk.retry(**{field: value})


def test_a_policy_stands_for_its_parts_and_not_beside_them(waits):
    policy = rk.RetryPolicy(attempts=2)
    provider = Provider(ProviderError(503), times=5)
    with pytest.raises(ProviderError):
        rk.retry(policy=policy)(provider)()
    assert provider.calls == 2
    with pytest.raises(TypeError, match="either policy"):
        rk.retry(policy=policy, attempts=3)


@pytest.mark.parametrize("field", ["policy", "budget", "on_retry"])
def test_what_is_no_policy_budget_or_hook_is_refused_by_name(field):
    with pytest.raises(TypeError, match=rf"retry\({field}=...\)"):
        rk.retry(**{field: "twice"})


@pytest.mark.parametrize("what", [None, 5, "text", dict, ProviderError])
def test_only_functions_are_decorated(what):
    with pytest.raises(TypeError, match="retry: expected a function"):
        rk.retry()(what)


def test_a_coroutine_from_a_plain_function_is_refused_since_nothing_has_run_yet():
    async def ask():
        return "answer"

    with pytest.raises(TypeError, match="decorate the coroutine function"):
        rk.retry()(lambda: ask())()
