"""Budgets of a keeper: nothing is sent that could break one, whoever calls, and what is not needed comes back."""

import asyncio
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from budgeting import MODEL, aspend, keeper_of, pico, request, spend

import ratekeeper as rk
from ratekeeper.budgets import booking, claim
from ratekeeper.budgets import budget as budgets
from ratekeeper.gate import Options
from ratekeeper.providers import Usage

# --- what holds -----------------------------------------------------------------------------------------------


def test_a_call_that_could_break_the_budget_is_refused_before_it_is_sent():
    budget = rk.Budget(usd="0.0001")
    keeper = keeper_of(budget)
    spend(keeper)
    with pytest.raises(
        rk.BudgetExceededError, match=r"0.0001 USD is used up: 0.0000135 of 0.0001 usd"
    ) as caught:
        spend(keeper, max_tokens=1000)
    assert (caught.value.measure, caught.value.limit, caught.value.spent) == (
        "usd", Decimal("0.0001"), Decimal("0.0000135"),
    )  # fmt: skip
    assert budget.spent() == {"usd": Decimal("0.0000135"), "tokens": 30, "calls": 1}
    assert keeper.status()["scopes"][f"openai/acct/{MODEL}"]["in_flight"] == 0


def test_the_error_pickles_with_all_it_says():
    import pickle

    keeper = keeper_of(rk.Budget(calls=1, by="tenant"))
    with rk.tags(tenant="acme"):
        spend(keeper)
        with pytest.raises(rk.BudgetExceededError) as caught:
            spend(keeper)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.tags, twin.measure) == (str(caught.value), {"tenant": "acme"}, "calls")


def test_a_hundred_threads_and_a_thousand_tasks_never_spend_more_than_the_budget_and_can_use_nearly_all_of_it():
    """Random usage, in dollars and cents: whatever they take, the sum stays below, and 95 % of it is had."""
    budget = rk.Budget(usd="0.02")
    keeper = keeper_of(budget)
    taken = []

    def usage(generator):
        return Usage(generator.randrange(1, 12), generator.randrange(1, 101))

    def work(seed):
        generator = random.Random(seed)
        for _ in range(40):
            used = usage(generator)
            try:
                spend(keeper, used)
            except rk.BudgetExceededError:
                return
            taken.append(pico(used))

    async def task(seed):
        used = usage(random.Random(seed))
        try:
            await aspend(keeper, used)
        except rk.BudgetExceededError:
            return
        taken.append(pico(used))

    async def tasks():
        await asyncio.gather(*(task(1000 + seed) for seed in range(1000)))

    with ThreadPoolExecutor(101) as pool:
        done = [pool.submit(work, seed) for seed in range(100)]
        done.append(pool.submit(lambda: asyncio.run(tasks())))
        for each in done:
            each.result(timeout=120)
    assert sum(taken) == budget.spent()["usd"] * 10**12
    assert 0.95 * 0.02 <= budget.spent()["usd"] <= 0.02


def test_calls_in_flight_cannot_overshoot_together_and_the_next_waits_for_what_they_leave():
    budget = rk.Budget(tokens=300)
    keeper = keeper_of(budget)

    async def main():
        first = asyncio.create_task(aspend(keeper, Usage(5, 5), seconds=0.05, max_tokens=200))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(aspend(keeper, Usage(5, 5), max_tokens=200))
        await asyncio.sleep(0.01)
        assert not second.done()
        with pytest.raises(rk.BudgetExceededError):
            await aspend(keeper, Usage(5, 5), max_tokens=400)
        await asyncio.wait_for(asyncio.gather(first, second), 10)

    asyncio.run(main())
    assert budget.spent()["tokens"] == 20


def test_a_thread_that_waits_goes_on_when_another_has_settled():
    budget = rk.Budget(calls=None, tokens=300)
    keeper = keeper_of(budget)
    gate = keeper.gate("openai", "acct")
    with gate.call(request(200)) as call:
        thread = threading.Thread(target=spend, args=(keeper,), kwargs={"max_tokens": 200})
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        call.settle(Usage(1, 1))
    thread.join(10)
    assert not thread.is_alive()
    assert budget.spent()["tokens"] == 32


def test_those_who_wait_are_served_in_their_order_and_a_large_call_is_not_passed():
    budget = rk.Budget(tokens=1000)
    gate = keeper_of(budget).gate("openai", "acct", Options(timeout=10))
    order = []

    async def ask(name, size):
        async with gate.call(request(size)) as call:
            order.append(name)
            await asyncio.sleep(0.005)
            call.settle(Usage(0, 0))

    async def main():
        first = asyncio.create_task(ask("first", 600))
        await asyncio.sleep(0)
        waiting = []
        for number in range(6):
            waiting.append(asyncio.create_task(ask(number, 800 if number == 2 else 500)))
            await asyncio.sleep(0.001)
        await asyncio.gather(first, *waiting)

    asyncio.run(main())
    assert order == ["first", *range(6)]


def test_a_new_window_has_room_while_a_call_of_the_last_one_is_in_flight(monkeypatch):
    real = time.time()
    skew = [0.0]
    for module in (booking, claim, budgets):
        monkeypatch.setattr(module, "time", lambda: real + skew[0])
    keeper = keeper_of(rk.Budget(calls=1, per="day"))
    gate = keeper.gate("openai", "acct", Options(timeout=0.1))
    with gate.call(request(10)) as call:
        skew[0] = 86_400
        with gate.call(request(10)) as other:
            other.settle(Usage(1, 1))
        call.settle(Usage(1, 1))


@pytest.mark.parametrize("way", ["thread", "task"])
def test_what_waits_too_long_for_calls_in_flight_is_refused_and_says_so(way):
    keeper = keeper_of(rk.Budget(tokens=300))
    gate = keeper.gate("openai", "acct", Options(timeout=0.05))
    with gate.call(request(200)), pytest.raises(rk.BudgetExceededError, match="reserved by calls in flight"):
        gate.call(request(200)).__enter__() if way == "thread" else asyncio.run(
            _enter(gate.call(request(200)))
        )


async def _enter(call):
    async with call:
        pass


def test_waiting_on_the_thread_of_an_event_loop_is_an_error():
    keeper = keeper_of(rk.Budget(tokens=300))
    gate = keeper.gate("openai", "acct")

    async def main():
        async with gate.call(request(200)):
            with pytest.raises(rk.EventLoopBlockedError, match="budget"), gate.call(request(200)):
                pass

    asyncio.run(main())


def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing_behind():
    budget = rk.Budget(tokens=300)
    keeper = keeper_of(budget)

    async def main():
        gate = keeper.gate("openai", "acct")
        async with gate.call(request(200)) as call:
            waiting = asyncio.create_task(aspend(keeper, Usage(1, 1), max_tokens=200))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            call.settle(Usage(1, 1))

    asyncio.run(main())
    [row] = keeper.status()["budgets"]
    assert (row["spent"]["tokens"], row["reserved"]["tokens"]) == (2, 0)


# --- whose ----------------------------------------------------------------------------------------------------


def test_tenants_have_purses_of_their_own_inside_one_for_all():
    everybody, each = rk.Budget(calls=3), rk.Budget(calls=2, by="tenant")
    keeper = keeper_of(everybody, each)
    for tenant, allowed in (("a", True), ("a", True), ("a", False), ("b", True), ("b", False)):
        with rk.tags(tenant=tenant):
            if allowed:
                spend(keeper)
            else:
                with pytest.raises(rk.BudgetExceededError):
                    spend(keeper)
    assert (each.spent(tenant="a")["calls"], each.spent(tenant="b")["calls"], everybody.spent()["calls"]) == (
        2,
        1,
        3,
    )


def test_a_budget_for_some_tags_leaves_other_calls_alone():
    keeper = keeper_of(rk.Budget(calls=1, tags={"tenant": "trial"}))
    for _ in range(3):
        spend(keeper)
    with rk.tags(tenant="trial"):
        spend(keeper)
        with pytest.raises(rk.BudgetExceededError):
            spend(keeper)


def test_the_tenant_and_the_agent_that_an_object_was_wrapped_for_are_tags_too():
    budget = rk.Budget(calls=5, by=("tenant", "agent"))
    keeper = keeper_of(budget)
    with keeper.gate("openai", "acct", Options(tenant="acme", agent="poet")).call(request()) as call:
        call.settle(Usage(1, 1))
    assert budget.spent(tenant="acme", agent="poet")["calls"] == 1
    assert keeper.costs.total(agent="poet").calls == 1


# --- hooks and raising -----------------------------------------------------------------------------------------


def test_the_hooks_are_told_once_near_the_end_and_at_it_and_one_that_raises_changes_nothing(caplog):
    events = []

    def note(event):
        events.append((event.measure, event.limit, event.spent, dict(event.tags)))
        raise RuntimeError("a broken hook")

    keeper = keeper_of(rk.Budget(calls=5, by="tenant", on_warn=note, on_exceed=note))
    with caplog.at_level(logging.WARNING, "ratekeeper"), rk.tags(tenant="acme"):
        for _ in range(5):
            spend(keeper)
        for _ in range(2):
            with pytest.raises(rk.BudgetExceededError):
                spend(keeper)
    assert events == [("calls", 5, spent, {"tenant": "acme"}) for spent in (4, 5, 5)]
    lines = [record.message for record in caplog.records if "budget of 5 calls" in record.message]
    assert (
        sum("80 % of the budget of 5 calls for each tenant is used (tenant=acme)" in line for line in lines)
        == 1
    )
    assert sum("calls are refused before they are sent" in line for line in lines) == 1


def test_a_budget_that_is_raised_lets_those_that_wait_go_on():
    budget = rk.Budget(tokens=300)
    keeper = keeper_of(budget)
    with keeper.gate("openai", "acct").call(request(200)) as call:
        thread = threading.Thread(target=spend, args=(keeper,), kwargs={"max_tokens": 200})
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        budget.raise_to(tokens=600)
        thread.join(10)
        assert not thread.is_alive()
        call.settle(Usage(1, 1))
    with pytest.raises(rk.ConfigError, match="tokens"):
        budget.raise_to(tokens=-1)


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "budget"),
        ({"usd": -1}, "usd"),
        ({"usd": "many"}, "usd"),
        ({"usd": float("nan")}, "usd"),
        ({"usd": True}, "usd"),
        ({"usd": "0.0000000000001"}, "usd"),
        ({"tokens": 0}, "tokens"),
        ({"calls": 1.5}, "calls"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": 5, "per": "day"}, "seconds"),
        ({"usd": 1, "per": "fortnight"}, "per"),
        ({"usd": 1, "tz": "Mars/Olympus"}, "tz"),
        ({"usd": 1, "warn_at": 2}, "warn_at"),
        ({"usd": 1, "by": ""}, "by"),
        ({"usd": 1, "tags": ["tenant"]}, "tags"),
        ({"usd": 1, "on_warn": "mail"}, "on_warn"),
    ],
)
def test_a_wrong_setting_is_named(settings, field):
    with pytest.raises(rk.ConfigError) as caught:
        rk.Budget(**settings)
    assert caught.value.field == field


def test_a_keeper_takes_budgets_only_and_each_once():
    budget = rk.Budget(usd=1)
    for wrong in ("1 USD", [budget, budget]):
        with pytest.raises(rk.ConfigError, match="budgets"):
            rk.Keeper(budgets=wrong)


def test_dollars_are_exact():
    budget = rk.Budget(usd=0.1)
    assert str(budget) == "0.1 USD"
    assert (
        str(rk.Budget(usd="1234.567891234567", per="day", by="tenant"))
        == "1234.567891234567 USD a day for each tenant"
    )
