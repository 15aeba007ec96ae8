"""What a budget takes for a call, and in which period."""

import os
import threading
from contextlib import suppress

import pytest
from budgeting import MODEL, PRICES, keeper_of, request, spend

import ratekeeper as rk
from ratekeeper.budgets import booking, claim
from ratekeeper.budgets import budget as budgets
from ratekeeper.gate import Options
from ratekeeper.providers import Usage

# --- what is taken --------------------------------------------------------------------------------------------


def test_what_nobody_counted_counts_in_full_and_what_was_not_sent_not_at_all():
    budget = rk.Budget(tokens=10_000)
    keeper = keeper_of(budget, quota=rk.Quota(concurrency=1))
    gate = keeper.gate("openai", "acct", Options(timeout=0.01))
    with gate.call(request(200)) as call, pytest.raises(rk.QuotaExceededError), gate.call(request(200)):
        pass
    del call
    assert 200 < budget.spent()["tokens"] < 260  # abandoned; the one that found no place took nothing
    before = budget.spent()["tokens"]
    with pytest.raises(ConnectionRefusedError), gate.call(request(200)):
        raise ConnectionRefusedError
    assert budget.spent()["tokens"] == before


def test_a_refused_attempt_takes_nothing_and_further_attempts_are_no_further_calls():
    from retrying import ProviderError

    budget = rk.Budget(calls=1, tokens=1000)
    keeper = rk.Keeper(
        budgets=budget, prices=PRICES, retry=rk.RetryPolicy(3, wait_initial=0.001, wait_max=0.002)
    )
    answers = [ProviderError(500), ProviderError(500), None]
    for call in keeper.gate("openai", "acct").attempts(request(10)):
        with call:
            error = answers.pop(0)
            if error is not None:
                raise error
            call.settle(Usage(2, 3))
    assert budget.spent()["calls"] == 1
    outcomes = [(entry.outcome, entry.attempt, entry.estimated) for entry in keeper.costs.entries()]
    assert outcomes == [("failed", 1, True), ("failed", 2, True), ("answered", 3, False)]


@pytest.mark.parametrize("usage", [Usage(10**15, 5), Usage(5, -1), Usage(10, 5, 40)])
@pytest.mark.parametrize("model", [MODEL, "nobody-knows-me"])
def test_a_usage_that_cannot_be_is_booked_as_an_estimate_and_the_answer_is_there(model, usage, caplog):
    budget = rk.Budget(tokens=10_000)
    keeper = keeper_of(budget)
    with keeper.gate("openai", "acct").call(request(200, model=model)) as call:
        call.settle(usage)
    [entry] = keeper.costs.entries()
    assert (entry.outcome, entry.estimated) == ("answered", True)
    assert 200 < budget.spent()["tokens"] < 260
    assert "told what cannot be booked" in caplog.text


def test_tokens_of_a_kind_without_a_price_count_as_reserved_not_as_nothing():
    budget = rk.Budget(usd="0.01")
    keeper = keeper_of(budget, prices=None)
    with keeper.gate("openai", "acct").call(request(0, model="text-embedding-3-small")) as call:
        call.settle(Usage(5, 3))
    assert budget.spent()["usd"] > 0
    assert keeper.costs.total().unpriced_tokens == 8


def test_a_fee_for_each_request_counts_without_tokens_too():
    budget = rk.Budget(usd=1)
    keeper = keeper_of(budget, prices={MODEL: {"input": 0, "output": 0, "request": "0.5"}})
    for _ in range(2):
        spend(keeper, Usage(0, 0))
    with pytest.raises(rk.BudgetExceededError):
        spend(keeper, Usage(0, 0))


def test_what_cannot_be_booked_does_not_cost_the_caller_the_answer(caplog):
    keeper = keeper_of(rk.Budget(tokens=1000))
    with rk.tags(job="\ud800"):
        spend(keeper)
    assert "could not be booked" in caplog.text
    [row] = keeper.status()["budgets"]
    assert (row["reserved"]["tokens"], row["spent"]["calls"]) == (0, 1)


def test_an_unknown_price_is_an_error_under_a_budget_in_money_only():
    spend(keeper_of(rk.Budget(tokens=10_000)), model="nobody-knows-me")
    with pytest.raises(rk.ConfigError, match="nobody knows the price of 'nobody-knows-me'") as caught:
        spend(keeper_of(rk.Budget(usd=1)), model="nobody-knows-me")
    assert caught.value.field == "prices"


def test_input_is_reserved_with_room_for_a_wrong_estimate():
    """Plain text never has more tokens than characters; of anything else nobody knows."""
    plain, other = ("word " * 400, "文字" * 200)
    for text, least, most in ((plain, 500, 2100), (other, 400, 4000)):
        budget = rk.Budget(tokens=100_000)
        with keeper_of(budget).gate("openai", "acct").call(request(0, text)):
            [row] = budget.status()
            assert least <= row["reserved"]["tokens"] <= most


def test_without_a_ceiling_the_models_own_is_reserved():
    budget = rk.Budget(tokens=100_000)
    keeper = keeper_of(budget, prices=None)
    with keeper.gate("openai", "acct").call(request(None)):
        assert 16_384 <= budget.status()[0]["reserved"]["tokens"] < 17_000
    own = keeper_of(budget, prices={MODEL: {"input": 1, "output": 1}})
    with own.gate("openai", "acct").call(request(None)):
        assert budget.status()[0]["reserved"]["tokens"] >= 16_384
    with pytest.raises(rk.ConfigError, match="nobody knows how much 'nobody-knows-me'") as caught:
        spend(keeper, max_tokens=None, model="nobody-knows-me")
    assert caught.value.field == "max_tokens"


def test_a_forked_child_does_not_wait_for_the_calls_of_its_parent():
    keeper = keeper_of(rk.Budget(tokens=400))
    gate = keeper.gate("openai", "acct", Options(timeout=1))
    with gate.call(request(300)) as call:
        child = os.fork()
        if child == 0:
            with suppress(BaseException), gate.call(request(300)) as other:
                other.settle(Usage(1, 1))
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        call.settle(Usage(1, 1))


# --- time -----------------------------------------------------------------------------------------------------


@pytest.fixture
def wall(monkeypatch):
    """The wall clock of budgets, to be set."""
    moment = [1_790_000_000.0]
    for module in (booking, claim, budgets):
        monkeypatch.setattr(module, "time", lambda: moment[0])
    return moment


def test_a_daily_budget_begins_anew_at_midnight_of_its_zone(wall):
    budget = rk.Budget(calls=1, per="day", tz="America/New_York")
    keeper = keeper_of(budget)
    spend(keeper)
    with pytest.raises(rk.BudgetExceededError):
        spend(keeper)
    resets_at = budget.status()[0]["resets_at"]
    wall[0] = resets_at - 1
    with pytest.raises(rk.BudgetExceededError):
        spend(keeper)
    wall[0] = resets_at
    spend(keeper)


def test_what_a_day_has_spent_is_not_told_of_the_next(wall):
    budget = rk.Budget(calls=5, per="day", by="tenant")
    keeper = keeper_of(budget)
    with rk.tags(tenant="acme"):
        spend(keeper)
    wall[0] += 86_400
    assert budget.spent(tenant="acme")["calls"] == 0
    assert budget.status()[0]["spent"]["calls"] == 0


def test_a_clock_that_jumps_over_midnight_and_back_gives_no_second_budget(wall):
    keeper = keeper_of(rk.Budget(calls=1, per="day"))
    spend(keeper)
    wall[0] += 86_400
    spend(keeper)
    for back in (86_400, 20 * 86_400):
        wall[0] -= back
        with pytest.raises(rk.BudgetExceededError):
            spend(keeper)


def test_seconds_stop_a_job_and_a_wait_in_the_queue_ends_with_them(monkeypatch):
    keeper = keeper_of(quota=rk.Quota(concurrency=1))
    with rk.Job("slow", [rk.Budget(seconds=0.05)]):
        with keeper.gate("openai", "acct").call(request()), pytest.raises(rk.QuotaExceededError):
            spend(keeper)
        with pytest.raises(rk.BudgetExceededError, match=r"0.05 s is used up.*of 0.05 seconds") as caught:
            spend(keeper)
    assert caught.value.measure == "seconds"


def test_no_call_starts_after_the_time_of_its_job_however_it_has_waited():
    budget = rk.Budget(tokens=400)
    keeper = keeper_of(budget, quota=rk.Quota(concurrency=1))
    gate = keeper.gate("openai", "acct")
    holder = rk.Keeper(budgets=budget, prices=PRICES).gate("openai", "acct").call(request(300))
    holder.__enter__()
    busy = gate.call(request(10))
    busy.__enter__()

    def leave():
        holder.settle(Usage(1, 1))
        threading.Event().wait(0.3)
        busy.settle(Usage(1, 1))

    with rk.Job("short", [rk.Budget(seconds=0.2)]):
        threading.Timer(0.15, leave).start()
        with pytest.raises((rk.BudgetExceededError, rk.QuotaExceededError)), gate.call(request(300)):
            pass
