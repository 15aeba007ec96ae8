"""What is seen of attempts: events, log lines, the keeper's status, and the keeper's own decorator."""

import asyncio
import json
import logging

import pytest
from attempting import QUICK, asend, refused, send, turns
from gates import HELLO, Recorder, keepers
from retrying import Provider, ProviderError

import ratekeeper as rk
from ratekeeper.testing import retry_without_waiting

SCOPE = "openai/acct/m"


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def keeper_of(clock, recorder):
    return keepers(clock, recorder)


@pytest.fixture(autouse=True)
def _no_waits():
    with retry_without_waiting():
        yield


def lines(caplog, part):
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


def limit_of(keeper, dimension="requests"):
    scope = keeper.status()["scopes"][SCOPE]
    return next(limit for limit in scope["limits"] if limit["dimension"] == dimension)


# --- events -----------------------------------------------------------------------------------------------


def test_each_attempt_is_an_event_of_its_own(keeper_of, recorder):
    errors = ProviderError(503), ProviderError(500)
    send(keeper_of(rk.Quota(rpm=100)).gate("openai", "acct"), Provider(*errors))
    assert recorder.names == ["started", "failed"] * 2 + ["started", "settled"]
    failed = [event for name, event in recorder.events if name == "failed"]
    assert tuple(event.error for event in failed) == errors
    assert [event.failure.kind for event in failed] == ["overload", "server_error"]


def test_what_a_refusal_gave_back_and_a_failure_kept_is_told(keeper_of, recorder):
    keeper = keeper_of(rk.Quota(rpm=100, tpm=10_000), retry=None)
    gate = keeper.gate("openai", "acct")
    reserved = gate.call(HELLO).reserved.tokens
    for status, kept in ((400, (1, 0)), (500, (1, reserved))):
        with pytest.raises(ProviderError):
            send(gate, Provider(ProviderError(status)))
        amounts = recorder.last("failed").amounts
        assert (amounts.requests, amounts.tokens) == kept


# --- log lines --------------------------------------------------------------------------------------------


def test_a_pause_is_logged_once_a_minute_and_says_how_long(keeper_of, clock, caplog):
    keeper = keeper_of(rk.Quota(rpm=100), retry=None)
    gate = keeper.gate("openai", "acct")
    for _ in range(3):
        with pytest.raises(ProviderError):
            send(gate, Provider(refused(retry_after=5)))
        clock.advance(30)
    [line] = lines(caplog, "refused a call")
    assert line.startswith(
        f"the provider refused a call under the quota {SCOPE}: rate limit reached (HTTP 429)"
    )
    assert "nobody starts for 5." in line or "nobody starts for 6.0" in line
    assert "acct" in line


def test_limits_that_change_are_logged_and_those_that_stay_are_not(keeper_of, caplog):
    gate = keeper_of(rk.Quota(rpm=100)).gate("openai", "acct")
    told = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}
    with caplog.at_level(logging.INFO, logger="ratekeeper"):
        for _ in range(3):
            for call in gate.attempts(HELLO):
                with call:
                    call.learn(told)
                    call.settle(None)
    [line] = lines(caplog, "are now")
    assert line == f"the limits of {SCOPE} are now: 60 requests per 60 s (learned instead of 100)"


def test_failures_that_are_no_refusals_are_not_logged(keeper_of, caplog):
    send(keeper_of(rk.Quota(rpm=100)).gate("openai", "acct"), Provider(ProviderError(500)))
    assert caplog.records == []


# --- status -----------------------------------------------------------------------------------------------


def test_the_status_tells_what_was_configured_learned_and_assumed_and_since_when(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100), retry=None)
    gate = keeper.gate("openai", "acct")
    keeper.limiter(SCOPE)
    clock.advance(7)
    assert (limit_of(keeper)["source"], limit_of(keeper)["configured"]) == ("configured", 100)
    assert limit_of(keeper)["age"] is None
    for call in gate.attempts(HELLO):
        with call:
            call.learn({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"})
            call.settle(None)
    clock.advance(3)
    assert (limit_of(keeper)["source"], limit_of(keeper)["limit"]) == ("learned", 60)
    assert limit_of(keeper)["configured"] == 100
    assert limit_of(keeper)["age"] == pytest.approx(3)


def test_a_limit_that_only_refusals_tell_of_is_assumed(keeper_of, clock):
    keeper = keeper_of(retry=None)
    gate = keeper.gate("openai", "acct")
    for _ in range(50):
        send(gate, Provider())
        clock.advance(0.1)
    with pytest.raises(ProviderError):
        send(gate, Provider(ProviderError(429)))
    assert limit_of(keeper)["source"] == "assumed"
    assert limit_of(keeper)["configured"] is None
    # Ten a second were accepted.
    assert 300 <= limit_of(keeper)["limit"] <= 620


def test_the_status_tells_of_a_pause_and_of_an_overload(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100), retry=None)
    gate = keeper.gate("openai", "acct")
    with pytest.raises(ProviderError):
        send(gate, Provider(refused(retry_after=5)))
    scope = keeper.status()["scopes"][SCOPE]
    assert 5 <= scope["paused_for"] <= 6
    clock.advance(7)
    assert keeper.status()["scopes"][SCOPE]["paused_for"] is None
    with pytest.raises(ProviderError):
        send(gate, Provider(ProviderError(529)))
    assert keeper.status()["scopes"][SCOPE]["adapted_concurrency"] >= 1
    json.dumps(keeper.status())


def test_the_status_shows_who_waits_out_a_pause(keeper_of, clock):
    keeper = keeper_of(rk.Quota(rpm=100))
    gate = keeper.gate("openai", "acct")

    async def main():
        task = asyncio.create_task(asend(gate, Provider(refused(retry_after=5))))
        await turns()
        scope = keeper.status()["scopes"][SCOPE]
        assert (scope["waiting"], scope["in_flight"]) == (1, 0)
        assert 5 <= scope["head"]["ready_in"] <= 6
        clock.advance(7)
        return await asyncio.wait_for(task, 10)

    assert asyncio.run(main()) == "answer"


# --- the keeper's own decorator ---------------------------------------------------------------------------


def outage():
    return Provider(ProviderError(500), times=999)


def test_the_keepers_decorator_has_the_keepers_policy(keeper_of):
    provider = outage()
    with pytest.raises(ProviderError):
        keeper_of(retry=QUICK).retry()(provider)()
    assert provider.calls == 3


def test_its_settings_win_over_the_keepers(keeper_of):
    keeper = keeper_of(retry=QUICK)
    for settings, calls in (({"attempts": 2}, 2), ({"policy": rk.RetryPolicy(attempts=4)}, 4)):
        provider = outage()
        with pytest.raises(ProviderError):
            keeper.retry(**settings)(provider)()
        assert provider.calls == calls


def test_all_it_decorates_share_a_budget_apart_from_the_scopes(keeper_of):
    keeper = keeper_of(retry=rk.RetryPolicy(attempts=None, timeout=None))
    provider = outage()
    for _ in range(10):
        with pytest.raises(ProviderError):
            keeper.retry()(provider)()
    assert provider.calls <= 10 + 8
    assert send(keeper.gate("openai", "acct"), Provider(ProviderError(500))) == "answer"
    own = rk.RetryBudget(14)
    with pytest.raises(ProviderError):
        keeper.retry(budget=own)(outage())()
    assert own.balance < 14


def test_around_a_call_through_the_gate_it_does_not_multiply(keeper_of, run):
    keeper = keeper_of(retry=QUICK)
    gate, provider = keeper.gate("openai", "acct"), outage()
    with pytest.raises(ProviderError):
        keeper.retry()(send)(gate, provider)
    assert provider.calls == 3
    with pytest.raises(ProviderError):
        run(keeper.retry()(asend)(gate, provider))
    assert provider.calls == 6


@pytest.mark.parametrize("status", [400, 401, 404])
def test_nor_does_it_start_what_cannot_be_mended(keeper_of, status):
    keeper, provider = keeper_of(retry=QUICK), Provider(ProviderError(status), times=9)
    with pytest.raises(ProviderError):
        keeper.retry()(send)(keeper.gate("openai", "acct"), provider)
    assert provider.calls == 1


@pytest.mark.parametrize("wrong", [3, "never", {"attempts": 3}, True])
def test_a_keepers_retry_is_a_policy_or_none(wrong):
    with pytest.raises(rk.ConfigError, match=r"retry: expected a ratekeeper\.RetryPolicy or None"):
        rk.Keeper(retry=wrong)
