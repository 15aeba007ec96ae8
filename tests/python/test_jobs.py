"""Jobs: calls inside share budgets of their own, are summed up, and are carried where they run."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

import ratekeeper as rk
from ratekeeper.providers import Request, Usage

PRICES = {"m": {"input": 1, "output": 2}}


@pytest.fixture
def keeper():
    return rk.Keeper(prices=PRICES, retry=None)


def spend(keeper, usage=None, model="m"):
    with keeper.gate("openai", "acct").call(Request(model, "hello", max_tokens=10)) as call:
        call.settle(usage or Usage(100, 10))


def test_a_job_sums_up_what_its_calls_took(keeper, caplog):
    with caplog.at_level(logging.INFO, "ratekeeper"), rk.Job("kickoff") as job:
        for _ in range(2):
            spend(keeper)
        spend(keeper, Usage(7, 3), model="nobody-knows-me")
        with pytest.raises(ValueError, match="bad"), keeper.gate("openai", "acct").call(Request("m", "x")):
            raise ValueError("bad")
    summary = job.summary
    assert (summary.calls, summary.failed, summary.estimated, summary.unpriced_tokens) == (4, 1, 1, 10)
    assert summary.usd >= Decimal("0.000240")
    assert summary.tokens == summary.input_tokens + summary.output_tokens >= 230
    assert str(summary) in [record.message for record in caplog.records]
    assert str(summary).startswith("kickoff: 4 calls, ")


def test_a_guard_hands_over_the_bill_of_each_job_also_of_one_that_fails(keeper, caplog):
    bills = []

    @keeper.guard(tags={"crew": "research"}, on_end=bills.append)
    def kickoff(number):
        for _ in range(number):
            spend(keeper)
        if number == 2:
            raise KeyError(number)

    kickoff(1)
    with pytest.raises(KeyError):
        kickoff(2)
    assert [(bill.name, bill.calls, bill.usd) for bill in bills] == [
        ("kickoff", 1, Decimal("0.00012")), ("kickoff", 2, Decimal("0.00024")),
    ]  # fmt: skip
    assert keeper.costs.total(crew="research").calls == 3

    @keeper.guard(on_end=lambda _: 1 / 0)
    def careless():
        return "done"

    assert careless() == "done"
    assert "on_end of the job careless raised" in caplog.text


def test_each_job_has_the_budget_for_itself_and_inner_jobs_count_in_outer_ones(keeper):
    @keeper.guard(budget=rk.Budget(calls=2))
    async def inner():
        for _ in range(2):
            spend(keeper)
        with pytest.raises(rk.BudgetExceededError):
            spend(keeper)

    @keeper.guard(budget=rk.Budget(usd=1, calls=5, name="outer"))
    async def outer():
        await asyncio.gather(inner(), inner())
        spend(keeper)
        with pytest.raises(rk.BudgetExceededError, match="the budget of outer is used up: 5 of 5 calls"):
            spend(keeper)

    asyncio.run(outer())
    assert keeper.costs.total().calls == 5


def test_a_plain_thread_starts_without_the_job_unless_it_is_carried(keeper):
    with rk.tags(tenant="acme"), rk.Job("threads", [rk.Budget(calls=3)]) as job:
        thread = threading.Thread(target=spend, args=(keeper,))
        thread.start()
        thread.join()
        assert job.summary.calls == 0
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(rk.carried(lambda _: spend(keeper)), range(3)))
        with pytest.raises(rk.BudgetExceededError):
            spend(keeper)
    assert job.summary.calls == 3
    assert keeper.costs.total(tenant="acme").calls == 3


def test_carried_keeps_name_arguments_and_result():
    @rk.carried
    def add(one: int, *, two: int) -> int:
        """Adds."""
        return one + two

    assert (add(1, two=2), add.__name__, add.__doc__) == (3, "add", "Adds.")


def test_a_job_is_entered_once_and_has_budgets_for_all_of_it(keeper):
    job = rk.Job("once")
    with job, pytest.raises(RuntimeError, match="entered before"), job:
        pass
    spend(keeper)  # nothing is left in force
    assert job.summary.calls == 0
    for settings in ({"by": "agent"}, {"tags": {"agent": "writer"}}):
        with pytest.raises(rk.ConfigError, match="for the whole job"):
            rk.Job("partial", [rk.Budget(calls=1, **settings)])
