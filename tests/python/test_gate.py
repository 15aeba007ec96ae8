"""One call through the gate: what it reserves, and what it leaves behind however it ends."""

import asyncio
import gc
import threading

import pytest
from gates import HELLO, Recorder, keepers, used

import ratekeeper as rk
from ratekeeper.gate import Options
from ratekeeper.providers import Request, Usage


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def keeper_of(clock, recorder):
    return keepers(clock, recorder)


class HTTPError(Exception):
    def __init__(self, status):
        super().__init__(str(status))
        self.status_code = status


class ConnectError(Exception):
    """As httpx names it."""


# --- a call and its end -----------------------------------------------------------------------------------


def test_a_call_reserves_its_estimate_and_is_settled_with_its_usage(keeper_of):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, itpm=1000, otpm=1000, concurrency=2))
    with keeper.gate("generic", "acct").call(HELLO) as call:
        held = call.reserved
        assert held.output_tokens == 50
        assert held.tokens == held.input_tokens + 50
        assert used(keeper) == {
            "requests": 1,
            "tokens": held.tokens,
            "input_tokens": held.input_tokens,
            "output_tokens": 50,
            "in_flight": 1,
            "waiting": 0,
        }
        call.settle(Usage(100, 7))
        assert used(keeper)["in_flight"] == 0
    expected = {
        "requests": 1,
        "tokens": 107,
        "input_tokens": 100,
        "output_tokens": 7,
        "in_flight": 0,
        "waiting": 0,
    }
    assert used(keeper) == expected


def test_an_async_call_does_the_same(keeper_of):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, concurrency=2))

    async def main():
        async with keeper.gate("generic", "acct").call(HELLO) as call:
            assert used(keeper)["in_flight"] == 1
            call.settle(Usage(100, 7))

    asyncio.run(main())
    assert used(keeper) == {"requests": 1, "tokens": 107, "in_flight": 0, "waiting": 0}


@pytest.mark.parametrize("settle", [True, False])
def test_a_call_whose_usage_is_unknown_keeps_its_reservation(keeper_of, recorder, settle):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, concurrency=2))
    with keeper.gate("generic", "acct").call(HELLO) as call:
        if settle:
            call.settle(None)
    assert used(keeper) == {"requests": 1, "tokens": call.reserved.tokens, "in_flight": 0, "waiting": 0}
    assert recorder.names == ["started", "settled"]
    assert recorder.last("settled").usage is None


@pytest.mark.parametrize(
    ("error", "requests", "keeps_tokens"),
    [
        (HTTPError(400), 1, False),
        (HTTPError(401), 1, False),
        (HTTPError(500), 1, True),
        (TimeoutError(), 1, True),
        (KeyboardInterrupt(), 1, True),
        (asyncio.CancelledError(), 1, True),
        (ConnectError(), 0, False),
    ],
    ids=repr,
)
def test_a_failed_call_keeps_what_the_provider_may_have_counted_and_frees_its_permit(
    keeper_of, recorder, error, requests, keeps_tokens
):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, concurrency=2))
    with pytest.raises(type(error)) as caught, keeper.gate("generic", "acct").call(HELLO) as call:
        raise error
    assert caught.value is error
    tokens = call.reserved.tokens if keeps_tokens else 0
    assert used(keeper) == {"requests": requests, "tokens": tokens, "in_flight": 0, "waiting": 0}
    assert recorder.names == ["started", "failed"]
    event = recorder.last("failed")
    assert (event.error, event.amounts.requests, event.amounts.tokens) == (error, requests, tokens)


def test_a_refused_call_gives_its_reservation_back_and_leaves_the_quota_empty(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, concurrency=2))
    with pytest.raises(HTTPError), keeper.gate("generic", "acct").call(HELLO) as call:
        raise HTTPError(429)
    assert recorder.last("failed").amounts == (0, 0, 0, 0)
    [status] = keeper.status()["scopes"].values()
    requests, tokens = status["limits"]
    assert requests["remaining"] <= 1
    assert tokens["remaining"] <= call.reserved.tokens
    assert status["in_flight"] == 0
    assert 1 <= status["paused_for"] <= 1.2


def test_an_error_after_the_settlement_changes_nothing(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(tpm=1000))

    def parse():
        with keeper.gate("generic", "acct").call(HELLO) as call:
            call.settle(Usage(10, 5))
            raise ValueError("parse")

    with pytest.raises(ValueError, match="parse"):
        parse()
    assert used(keeper)["tokens"] == 15
    assert recorder.names == ["started", "settled"]


def test_a_stream_broken_off_by_its_consumer_is_no_failure(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(tpm=1000, concurrency=1))
    gate = keeper.gate("generic", "acct")

    def stream():
        with gate.call(HELLO) as call:
            while True:
                call.keep_alive()
                yield "chunk"

    chunks = stream()
    next(chunks)
    assert used(keeper)["in_flight"] == 1
    chunks.close()
    assert used(keeper)["in_flight"] == 0
    assert used(keeper)["tokens"] > 50
    assert recorder.names == ["started", "settled"]


def test_an_adapter_that_sent_nothing_gives_everything_back(keeper_of):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, concurrency=1))
    with keeper.gate("generic", "acct").call(HELLO) as call:
        call.release()
    assert used(keeper) == {"requests": 0, "tokens": 0, "in_flight": 0, "waiting": 0}


def test_a_call_is_settled_once(keeper_of):
    keeper = keeper_of(rk.Quota(tpm=1000))
    call = keeper.gate("generic", "acct").call(HELLO)
    with pytest.raises(rk.LeaseError):
        call.settle(Usage(1, 1))
    with call:
        call.settle(Usage(1, 1))
        for again in (lambda: call.settle(Usage(1, 1)), lambda: call.settle(None), call.release):
            with pytest.raises(rk.LeaseError, match="settled or left before"):
                again()
    assert used(keeper)["tokens"] == 2


def test_a_call_that_is_never_entered_takes_nothing(keeper_of):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000, concurrency=1))
    keeper.gate("generic", "acct").call(HELLO)
    gc.collect()
    assert used(keeper) == {"requests": 0, "tokens": 0, "in_flight": 0, "waiting": 0}


# --- waiting, refusal, cancellation -----------------------------------------------------------------------


def test_a_call_that_can_never_fit_is_told_at_once_and_nothing_stays_behind(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(rpm=10, tpm=1000))
    with (
        pytest.raises(rk.NeverFitsError) as caught,
        keeper.gate("generic", "acct").call(Request("m", "x y " * 9000)),
    ):
        pytest.fail("it started")
    assert (caught.value.dimension, caught.value.scope) == ("tokens", "generic/acct/m")
    assert recorder.names == ["refused"]
    assert recorder.last("refused").error is caught.value
    assert used(keeper) == {"requests": 0, "tokens": 0, "in_flight": 0, "waiting": 0}


@pytest.mark.parametrize("quota", [rk.Quota(tpm=500), rk.Quota(otpm=500)])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "generic"])
def test_our_guess_at_the_output_alone_makes_no_call_impossible(keeper_of, quota, provider):
    keeper = keeper_of(quota)
    with keeper.gate(provider, "acct").call(Request("m", "x" * 400)) as call:
        assert call.reserved.output_tokens <= 500
        assert call.reserved.tokens <= 500 or quota.limits[0].dimension != "tokens"


def test_the_guess_is_cut_to_the_accounts_and_the_tenants_quota_too(keeper_of):
    keeper = keeper_of(accounts={"generic": rk.Quota(tpm=600)}, tenants={"acme": rk.Quota(tpm=300)})
    with keeper.gate("generic", "acct").call(Request("m", "x" * 40)) as call:
        assert call.reserved.tokens == 600
        call.settle(Usage(0, 0))
    with keeper.gate("generic", "acct", Options(tenant="acme")).call(Request("m", "x" * 40)) as call:
        assert call.reserved.tokens == 300


def test_a_max_tokens_above_the_quota_is_impossible_where_the_provider_reserves_it(keeper_of):
    keeper = keeper_of(rk.Quota(tpm=500))
    with (
        pytest.raises(rk.NeverFitsError),
        keeper.gate("openai", "acct").call(Request("m", "x", max_tokens=501)),
    ):
        pytest.fail("it started")


def test_a_call_that_finds_no_room_in_time_is_refused_with_the_time_to_come_back(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(rpm=1))
    gate = keeper.gate("generic", "acct", Options(timeout=0.5))
    with gate.call(HELLO):
        pass
    with pytest.raises(rk.QuotaExceededError) as caught, gate.call(HELLO):
        pytest.fail("it started")
    assert caught.value.retry_after == pytest.approx(60, abs=0.01)
    assert recorder.names == ["started", "settled", "refused"]


async def a_few_turns():
    """Of the event loop: calls come through its turnstile one a turn."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_waiting_call_starts_when_there_is_room_and_says_how_long_it_waited(keeper_of, clock, recorder):
    keeper = keeper_of(rk.Quota(rpm=1))
    gate = keeper.gate("generic", "acct")

    async def call():
        async with gate.call(HELLO) as call:
            return call.waited

    async def main():
        first, second = asyncio.create_task(call()), asyncio.create_task(call())
        assert await first == 0
        await a_few_turns()
        clock.advance(59)
        await a_few_turns()
        assert not second.done()
        clock.advance(1)
        return await asyncio.wait_for(second, 10)

    assert asyncio.run(main()) == pytest.approx(60)
    assert recorder.names == ["started", "settled", "waited", "started", "settled"]
    assert recorder.last("waited").waited == recorder.last("settled").waited == pytest.approx(60)


@pytest.mark.parametrize("after_the_grant", [False, True])
def test_a_call_cancelled_while_it_waits_leaves_its_place_to_the_next(
    keeper_of, clock, recorder, after_the_grant
):
    keeper = keeper_of(rk.Quota(rpm=1))
    gate = keeper.gate("generic", "acct")

    async def call():
        async with gate.call(HELLO):
            return "done"

    async def main():
        await call()
        cancelled, patient = asyncio.create_task(call()), asyncio.create_task(call())
        await a_few_turns()
        assert used(keeper)["waiting"] == 2
        if after_the_grant:
            clock.advance(60)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        clock.advance(60)
        assert await asyncio.wait_for(patient, 10) == "done"

    asyncio.run(main())
    assert used(keeper)["waiting"] == used(keeper)["in_flight"] == 0
    assert recorder.names.count("refused") == 1
    assert isinstance(recorder.last("refused").error, asyncio.CancelledError)
    assert recorder.names.count("started") == recorder.names.count("settled") == 2


def test_a_sync_wait_on_a_running_loop_is_an_error_and_leaves_nothing(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(concurrency=1))
    gate = keeper.gate("generic", "acct")

    async def main():
        async with gate.call(HELLO):
            with pytest.raises(rk.EventLoopBlockedError), gate.call(HELLO):
                pytest.fail("it started")

    asyncio.run(main())
    assert used(keeper)["waiting"] == used(keeper)["in_flight"] == 0
    assert recorder.names == ["started", "refused", "settled"]


def test_threads_share_the_quota_and_all_are_served(keeper_of):
    keeper = keeper_of(rk.Quota(concurrency=2))
    gate = keeper.gate("generic", "acct")
    running, peak, lock = 0, 0, threading.Lock()

    def work():
        nonlocal running, peak
        with gate.call(HELLO) as call:
            with lock:
                running += 1
                peak = max(peak, running)
            with lock:
                running -= 1
            call.settle(Usage(1, 1))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert 1 <= peak <= 2
    assert used(keeper) == {"in_flight": 0, "waiting": 0}


# --- leases that expire -----------------------------------------------------------------------------------


def test_a_stream_keeps_its_permit_as_long_as_chunks_come(keeper_of, clock):
    keeper = keeper_of(rk.Quota(concurrency=1), lease_ttl=10)
    with keeper.gate("generic", "acct").call(HELLO) as call:
        for _ in range(5):
            clock.advance(8)
            call.keep_alive()
        assert used(keeper)["in_flight"] == 1


def test_a_call_that_outlives_its_lease_still_returns_its_answer_and_is_logged_once(keeper_of, clock, caplog):
    keeper = keeper_of(rk.Quota(tpm=1000, concurrency=1), lease_ttl=10)
    with keeper.gate("generic", "acct").call(HELLO) as call:
        clock.advance(11)
        assert keeper.limiter("generic/acct/m").try_acquire() is not None
        call.keep_alive()
        call.keep_alive()
        call.settle(Usage(10, 5))
    lines = [record.getMessage() for record in caplog.records if "outlived" in record.getMessage()]
    assert len(lines) == 1
    assert "generic/acct/m" in lines[0]
    assert "lease_ttl" in lines[0]


@pytest.mark.parametrize("error", [HTTPError(400), ConnectError(), HTTPError(500)], ids=repr)
def test_an_expired_lease_does_not_hide_the_providers_error(keeper_of, clock, error):
    keeper = keeper_of(rk.Quota(concurrency=1), lease_ttl=10)

    def fail_late():
        with keeper.gate("generic", "acct").call(HELLO):
            clock.advance(11)
            assert keeper.limiter("generic/acct/m").try_acquire() is not None
            raise error

    with pytest.raises(type(error)) as caught:
        fail_late()
    assert caught.value is error
