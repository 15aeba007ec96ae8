"""The attempts of one call: how often it is sent, with what, and what comes out at the end."""

import gc
import pickle
import sys
import weakref

import pytest
from attempting import QUICK, asend, idle, refused, send, stream
from gates import HELLO, Recorder, keepers, used
from retrying import Provider, ProviderError, note_of

import ratekeeper as rk
from ratekeeper.gate import Options
from ratekeeper.providers import Request, Usage
from ratekeeper.testing import retry_without_waiting

has_notes = pytest.mark.skipif(sys.version_info < (3, 11), reason="notes are of Python 3.11")


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def keeper_of(clock, recorder):
    return keepers(clock, recorder)


@pytest.fixture(autouse=True)
def waits():
    with retry_without_waiting() as waits:
        yield waits


def outage(status=503):
    return Provider(ProviderError(status), times=999)


# --- another attempt --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 500, 502, 503, 529])
def test_a_failure_that_passes_is_tried_again_with_a_lease_of_its_own(keeper_of, recorder, status, waits):
    keeper = keeper_of(rk.Quota(rpm=10, concurrency=1))
    assert send(keeper.gate("generic", "acct"), Provider(ProviderError(status))) == "answer"
    assert recorder.names == ["started", "failed", "started", "settled"]
    assert used(keeper) == {"requests": 2, "in_flight": 0, "waiting": 0}
    assert len(waits) == 1


def test_a_task_is_tried_again_as_well(keeper_of, recorder, run):
    keeper = keeper_of(rk.Quota(rpm=10, concurrency=1))
    provider = Provider(ProviderError(500), ConnectionResetError())
    assert run(asend(keeper.gate("generic", "acct"), provider)) == "answer"
    assert recorder.names == ["started", "failed"] * 2 + ["started", "settled"]
    assert used(keeper) == {"requests": 3, "in_flight": 0, "waiting": 0}


def test_no_attempt_holds_a_permit_while_it_waits_for_its_turn(keeper_of, waits, monkeypatch):
    keeper = keeper_of(rk.Quota(concurrency=1))
    held = []
    monkeypatch.setattr(
        "ratekeeper._retrying.Course.sleep", lambda *_: held.append(used(keeper)["in_flight"])
    )
    send(keeper.gate("generic", "acct"), Provider(ProviderError(500), ProviderError(500)))
    assert held == [0, 0]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_it_is_sent_as_often_as_the_policy_says(keeper_of, attempts):
    keeper = keeper_of(retry=rk.RetryPolicy(attempts=attempts))
    provider = outage(500)
    with pytest.raises(ProviderError):
        send(keeper.gate("generic", "acct"), provider)
    assert provider.calls == attempts


def test_what_comes_out_is_the_last_exception_of_the_provider_as_it_was(keeper_of):
    errors = [ProviderError(500), ProviderError(503), ProviderError(500)]
    errors[-1].__cause__ = cause = OSError("connection reset")
    with pytest.raises(ProviderError) as caught:
        send(keeper_of(retry=QUICK).gate("generic", "acct"), Provider(*errors))
    assert caught.value is errors[-1]
    assert caught.value.__cause__ is cause


class Unreadable(Exception):
    @property
    def response(self):
        raise RuntimeError("the response is closed")


@pytest.mark.parametrize("attempts", [1, 3])
def test_nothing_is_left_of_a_call_whose_exception_cannot_be_looked_at(keeper_of, attempts):
    keeper = keeper_of(rk.Quota(rpm=10, concurrency=1), retry=rk.RetryPolicy(attempts=attempts))
    with pytest.raises((Unreadable, RuntimeError)):
        send(keeper.gate("generic", "acct"), Provider(Unreadable()))
    assert idle(keeper)


@has_notes
def test_its_note_says_what_was_tried(keeper_of):
    with pytest.raises(ProviderError) as caught:
        send(keeper_of(retry=QUICK).gate("generic", "acct"), outage())
    assert note_of(caught.value).startswith("ratekeeper: 3 attempts in ")
    assert note_of(caught.value).endswith("no attempts are left")


def test_without_a_policy_there_is_one_attempt_and_no_mark_on_its_exception(keeper_of):
    provider = outage()
    with pytest.raises(ProviderError) as caught:
        send(keeper_of(retry=None).gate("generic", "acct"), provider)
    assert provider.calls == 1
    assert vars(caught.value).keys() == vars(ProviderError(503)).keys()


def test_who_retries_outside_may_where_the_keeper_does_not(keeper_of):
    gate, provider = keeper_of(retry=None).gate("generic", "acct"), outage()
    with pytest.raises(ProviderError):
        rk.retry(attempts=4)(send)(gate, provider)
    assert provider.calls == 4


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_what_another_attempt_cannot_mend_is_sent_once(keeper_of, status):
    error = ProviderError(status)
    provider = Provider(error, times=9)
    with pytest.raises(ProviderError) as caught:
        send(keeper_of(hooks=()).gate("generic", "acct"), provider)
    assert caught.value is error
    assert provider.calls == 1


@pytest.mark.parametrize(
    "error", [ValueError("no JSON"), rk.LeaseError("ours"), KeyboardInterrupt()], ids=repr
)
def test_what_is_no_failure_of_a_provider_is_sent_once(keeper_of, error):
    keeper = keeper_of(rk.Quota(concurrency=1))
    provider = Provider(error, times=9)
    with pytest.raises(type(error)) as caught:
        send(keeper.gate("generic", "acct"), provider)
    assert caught.value is error
    assert provider.calls == 1
    assert idle(keeper)


def test_an_answer_that_cannot_be_used_is_not_asked_for_again(keeper_of):
    """What fails after the settlement is the caller's own."""
    gate, sent = keeper_of().gate("generic", "acct"), []

    def parse():
        for call in gate.attempts(HELLO):
            with call:
                sent.append(1)
                call.settle(Usage(1, 1))
                raise TimeoutError

    with pytest.raises(TimeoutError):
        parse()
    assert sent == [1]


def test_only_the_keepers_last_error_leads_back_to_the_first_exception_after_an_answer(keeper_of):
    """More would keep it, with all that its traceback holds, until the collector runs."""
    error = ProviderError(500)
    alive, provider = weakref.ref(error), Provider(error)
    del error
    gc.collect()
    gc.disable()
    try:
        keeper = keeper_of(hooks=())
        send(keeper.gate("generic", "acct"), provider)
        provider.errors.clear()
        assert alive() is keeper.last_error()
        [lane] = keeper._lanes.values()
        lane.last_error = None
        assert alive() is None
    finally:
        gc.enable()


# --- streams ----------------------------------------------------------------------------------------------


def test_a_stream_that_fails_before_its_first_chunk_is_tried_again(keeper_of, recorder):
    gate = keeper_of(rk.Quota(concurrency=1)).gate("generic", "acct")
    assert list(stream(gate, [ProviderError(500)], [ConnectionResetError()], ["a", "b"])) == ["a", "b"]
    assert recorder.names.count("started") == 3


def test_a_stream_that_fails_after_it_is_not(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(concurrency=1))
    error, seen = ProviderError(500), []
    with pytest.raises(ProviderError) as caught:
        seen.extend(stream(keeper.gate("generic", "acct"), ["a", error], ["a", "b"]))
    assert caught.value is error
    assert recorder.names == ["started", "failed"]
    assert idle(keeper)


def test_a_second_attempt_keeps_its_permit_though_the_first_had_lost_its_own(keeper_of, clock):
    keeper = keeper_of(rk.Quota(concurrency=1), lease_ttl=10)
    rounds = 0
    for call in keeper.gate("generic", "acct").attempts(HELLO):
        with call:
            rounds += 1
            if rounds == 1:
                clock.advance(11)
                with keeper.limiter("generic/acct/m").try_acquire():
                    pass
                raise ProviderError(500)
            for _ in range(3):
                clock.advance(8)
                call.keep_alive()
            assert keeper.limiter("generic/acct/m").try_acquire() is None
            call.settle(Usage(1, 1))
    assert rounds == 2


# --- what an outage multiplies ----------------------------------------------------------------------------


def test_an_empty_retry_budget_lets_the_error_out_at_once(keeper_of):
    keeper = keeper_of(rk.Quota(concurrency=4), retry=rk.RetryPolicy(attempts=10))
    gate, provider = keeper.gate("generic", "acct"), outage(500)
    for _ in range(50):
        with pytest.raises(ProviderError):
            send(gate, provider)
    # 100 // 14 retries, and one that is lent in 10 s.
    assert provider.calls <= 50 + 8
    assert keeper.status()["retry_budgets"]["generic/acct/m"] < 14


def test_each_scope_has_a_budget_of_its_own(keeper_of):
    keeper = keeper_of(retry=QUICK)
    gate, provider = keeper.gate("generic", "acct"), outage(500)
    for _ in range(20):
        with pytest.raises(ProviderError):
            send(gate, provider)
    assert send(gate, Provider(ProviderError(500)), Request("other", "x")) == "answer"
    assert set(keeper.status()["retry_budgets"]) == {"generic/acct/m", "generic/acct/other"}


def test_answers_fill_the_budget_again(keeper_of):
    keeper = keeper_of(retry=QUICK)
    gate = keeper.gate("generic", "acct")
    with pytest.raises(ProviderError):
        send(gate, outage(500))
    assert keeper.status()["retry_budgets"] == {"generic/acct/m": 72}
    for _ in range(3):
        send(gate, Provider())
    assert keeper.status()["retry_budgets"] == {"generic/acct/m": 75}
    assert send(gate, Provider(ProviderError(500))) == "answer"
    assert keeper.status()["retry_budgets"] == {"generic/acct/m": 75}


# --- deadlines --------------------------------------------------------------------------------------------


def test_a_wait_longer_than_what_is_left_is_not_begun(keeper_of, waits):
    provider = Provider(refused(retry_after=30), times=9)
    with pytest.raises(ProviderError) as caught:
        send(keeper_of(retry=rk.RetryPolicy(timeout=20)).gate("openai", "acct"), provider)
    assert caught.value is provider.errors[0]
    assert (provider.calls, waits) == (1, [])


def test_a_second_attempt_that_finds_no_room_in_time_ends_with_what_the_provider_said(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(rpm=1))
    error = ProviderError(500)
    error.__cause__ = cause = OSError("connection reset")
    error.__context__ = context = KeyError("what the SDK was doing")
    with pytest.raises(ProviderError) as caught:
        send(keeper.gate("generic", "acct", Options(timeout=5)), Provider(error))
    assert caught.value is error
    assert (caught.value.__cause__, caught.value.__context__) == (cause, context)
    assert recorder.names == ["started", "failed", "refused"]
    assert isinstance(recorder.last("refused").error, rk.QuotaExceededError)
    assert idle(keeper)


def test_a_timeout_is_of_waits_and_not_of_what_the_attempts_take(keeper_of, clock):
    class Slow(Provider):
        def __call__(self, answer="answer"):
            clock.advance(12)
            return super().__call__(answer)

    gate = keeper_of(rk.Quota(rpm=60)).gate("generic", "acct", Options(timeout=5))
    assert send(gate, Slow(ProviderError(500), ProviderError(500))) == "answer"


@has_notes
def test_its_note_counts_the_attempts_that_were_sent(keeper_of):
    gate = keeper_of(rk.Quota(rpm=1)).gate("generic", "acct", Options(timeout=5))
    with pytest.raises(ProviderError) as caught:
        send(gate, Provider(ProviderError(500)))
    assert note_of(caught.value).startswith("ratekeeper: 1 attempt in ")
    assert "no room for requests in generic/acct/m" in note_of(caught.value)


def test_a_refused_call_whose_pause_ends_after_its_deadline_ends_with_what_the_provider_said(keeper_of):
    provider = Provider(refused(retry_after=8), times=9)
    with pytest.raises(ProviderError) as caught:
        send(keeper_of().gate("openai", "acct", Options(timeout=5)), provider)
    assert caught.value is provider.errors[0]
    assert provider.calls == 1


def test_a_first_attempt_that_finds_no_room_in_time_is_ours_to_refuse(keeper_of):
    gate = keeper_of(rk.Quota(rpm=1)).gate("generic", "acct", Options(timeout=5))
    send(gate, Provider())
    provider = Provider()
    with pytest.raises(rk.QuotaExceededError) as caught:
        send(gate, provider)
    assert provider.calls == 0
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.scope, again.dimension) == ("generic/acct/m", "requests")
