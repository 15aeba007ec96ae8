"""Budgets and retry budgets for real processes: forked, spawned and killed, on one SQLite file."""

import asyncio
import os
import random
import struct
import time
from contextlib import suppress
from decimal import Decimal

import pytest
from children import code_of, forked, script
from servers import until

import ratekeeper as rk
from ratekeeper.budgets import claim
from ratekeeper.providers import Request, Usage

MODEL = "gpt-4o-mini"
#: 0.15 and 0.60 USD per million tokens.
PRICES = {MODEL: {"input": 0.15, "output": 0.60}}
#: How long a process is believed to be there after its last sign of life, and what a busy machine needs.
MISSED = 16.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path}/quota.db"


def keeper_of(store, *budgets, **settings):
    return rk.Keeper(budgets=budgets, store=store, **{"retry": None, "prices": PRICES, **settings})


def spend(keeper, usage=None, seconds=0.0, max_tokens=100):
    with keeper.gate("openai", "acct").call(Request(MODEL, "hello", max_tokens=max_tokens)) as call:
        time.sleep(seconds)
        call.settle(usage or Usage(10, 20))


# --- what holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_six_processes_never_spend_more_than_the_budget_and_can_use_nearly_all_of_it(store, kind):
    """Random usage, counted apart from the budget in a pipe: the sum stays below, and 95 % of it is had."""
    reading, writing = os.pipe()

    def work(seed):
        keeper = keeper_of(store, rk.Budget(usd="0.02"), name=f"keeper {seed}")
        generator = random.Random(seed)

        def tell(usage):
            pico = usage.input_tokens * 150_000 + usage.output_tokens * 600_000
            os.write(writing, struct.pack("q", pico))

        def one():
            usage = Usage(generator.randrange(1, 12), generator.randrange(1, 101))
            spend(keeper, usage)
            tell(usage)

        async def many():
            while True:
                usage = Usage(generator.randrange(1, 12), generator.randrange(1, 101))
                request = Request(MODEL, "hello", max_tokens=100)
                async with keeper.gate("openai", "acct").call(request) as call:
                    await asyncio.sleep(generator.random() / 100)
                    call.settle(usage)
                tell(usage)

        async def tasks():
            ended = await asyncio.gather(*(many() for _ in range(8)), return_exceptions=True)
            assert {type(error) for error in ended} == {rk.BudgetExceededError}

        if kind == "tasks":
            asyncio.run(tasks())
            return
        with suppress(rk.BudgetExceededError):  # it goes on for ever otherwise
            while True:
                one()

    children = [forked(lambda seed=seed: work(seed)) for seed in range(6)]
    os.close(writing)
    taken = b"".join(iter(lambda: os.read(reading, 8192), b""))
    assert [code_of(child) for child in children] == [0] * 6
    spent = sum(value for (value,) in struct.iter_unpack("q", taken))
    assert 0.95 * 0.02 <= spent / 10**12 <= 0.02
    budget = rk.Budget(usd="0.02")
    keeper_of(store, budget)
    assert budget.spent()["usd"] * 10**12 == spent


def test_each_tag_value_has_one_purse_in_all_processes_and_the_sum_of_all_is_told(store):
    text = f"""
        import sys, ratekeeper as rk
        from ratekeeper.providers import Request, Usage
        keeper = rk.Keeper(store=sys.argv[1], budgets=[rk.Budget(calls=5, by="tenant")], retry=None, prices={PRICES})
        made = 0
        with rk.tags(tenant=sys.argv[2]):
            try:
                while True:
                    with keeper.gate("openai", "acct").call(Request("{MODEL}", "hello", max_tokens=9)) as call:
                        call.settle(Usage(10, 20))
                    made += 1
            except rk.BudgetExceededError as error:
                print(made, error.limit, error.spent, error.tags["tenant"])
    """
    for tenant in ("acme", "zeta"):
        children = [script(text, store, tenant) for _ in range(3)]
        said = [child.communicate(timeout=60) for child in children]
        assert sum(int(out.split()[0]) for out, _ in said) == 5
        assert {out.split(maxsplit=1)[1].strip() for out, _ in said} == {f"5 5 {tenant}"}
    budget = rk.Budget(calls=5, by="tenant")
    keeper_of(store, budget)
    assert budget.spent(tenant="acme") == {"usd": Decimal("0.0000675"), "tokens": 150, "calls": 5}
    assert budget.spent(tenant="nobody")["calls"] == 0


def test_a_budget_of_one_job_stays_in_its_process(store):
    keeper = keeper_of(store)

    @keeper.guard(budget=rk.Budget(calls=1))
    def job():
        spend(keeper)
        with pytest.raises(rk.BudgetExceededError):
            spend(keeper)

    job()
    assert code_of(forked(job)) == 0


def test_a_call_refused_by_the_store_takes_nothing_from_its_job(store):
    everybodys = rk.Budget(calls=1)
    keeper = keeper_of(store, everybodys)
    spend(keeper)
    with rk.Job("job", [rk.Budget(calls=5)]) as job:
        with pytest.raises(rk.BudgetExceededError, match="1 of 1 calls"):
            spend(keeper)
        assert job.purses[0].state()["reserved"] == (0, 0, 0)
        everybodys.raise_to(calls=9)
        for _ in range(5):
            spend(keeper)
        with pytest.raises(rk.BudgetExceededError, match="5 of 5 calls"):
            spend(keeper)
    assert everybodys.spent()["calls"] == 6


# --- restarts, settings, kills ----------------------------------------------------------------------------


def test_what_is_spent_is_there_after_a_restart_and_the_last_ceiling_counts_for_all(store):
    for made in range(3):
        budget = rk.Budget(calls=3, per="month", name="everybody")
        keeper = keeper_of(store, budget, name=f"keeper {made}")
        assert budget.spent()["calls"] == made
        spend(keeper)
    with pytest.raises(rk.BudgetExceededError):
        spend(keeper)
    other = keeper_of(store, rk.Budget(calls=4, per="month", name="everybody"), name="other")
    spend(other)
    for full in (keeper, other):
        with pytest.raises(rk.BudgetExceededError, match="4 of 4 calls"):
            spend(full)
    budget.raise_to(calls=5)
    spend(other)
    assert other.status()["budgets"][0]["limit"]["calls"] == 5


def test_budgets_about_something_else_are_others_and_two_about_the_same_are_told_apart_by_their_order(store):
    day, week = rk.Budget(calls=9, per="day"), rk.Budget(calls=9, per="week")
    some, more = rk.Budget(calls=9, tags={"crew": "a"}), rk.Budget(calls=20)
    keeper = keeper_of(store, day, week, some, more, rk.Budget(calls=30))
    spend(keeper)
    again = rk.Budget(calls=9, per="day"), rk.Budget(calls=20), rk.Budget(calls=30), rk.Budget(calls=40)
    spend(keeper_of(store, *again))
    assert [budget.spent()["calls"] for budget in (day, week, some, more)] == [2, 1, 0, 2]
    assert [budget.spent()["calls"] for budget in again] == [2, 2, 2, 1]


def test_a_budget_is_kept_in_one_store(store, tmp_path):
    budget = rk.Budget(calls=1)
    keeper_of(store, budget)
    with pytest.raises(rk.ConfigError, match="budgets"):
        keeper_of(f"sqlite:///{tmp_path}/other.db", budget)
    with pytest.raises(rk.ConfigError, match="budgets"):
        rk.Keeper(budgets=budget)


def test_what_a_killed_process_had_reserved_counts_in_full_when_it_is_missed(store):
    text = f"""
        import sys, time, ratekeeper as rk
        from ratekeeper.providers import Request, Usage
        keeper = rk.Keeper(store=sys.argv[1], budgets=[rk.Budget(usd="0.0001")], retry=None, prices={PRICES})
        with keeper.gate("openai", "acct").call(Request("{MODEL}", "hello", max_tokens=100)) as call:
            print("held", flush=True)
            time.sleep(60)
    """
    child = script(text, store)
    assert child.stdout.readline() == "held\n"
    budget = rk.Budget(usd="0.0001")
    keeper = keeper_of(store, budget)
    [held] = [row["reserved"]["usd"] for row in _looked_up(keeper, budget)]
    assert budget.spent()["usd"] == 0 < Decimal(held)
    child.kill()
    child.communicate()
    began = time.monotonic()
    # It waits for what the dead process holds, and is refused once nobody holds it any more.
    with pytest.raises(rk.BudgetExceededError, match="is used up"):
        spend(keeper, max_tokens=150)
    assert time.monotonic() - began < MISSED
    assert budget.spent()["usd"] == Decimal(held)
    spend(keeper, max_tokens=10)


def _looked_up(keeper, budget):
    budget.spent()
    return keeper.status()["budgets"]


def test_a_call_of_another_process_that_ends_lets_the_next_through_soon(store):
    keeper = keeper_of(store, rk.Budget(usd="0.0001"))
    reading, writing = os.pipe()

    def work():
        request = Request(MODEL, "hello", max_tokens=100)
        with keeper.gate("openai", "acct").call(request) as call:
            os.write(writing, b"held")
            time.sleep(0.5)
            call.settle(Usage(1, 1))
        os.write(writing, struct.pack("d", time.monotonic()))

    child = forked(work)
    assert os.read(reading, 4) == b"held"
    spend(keeper)
    late = time.monotonic() - struct.unpack("d", os.read(reading, 8))[0]
    assert code_of(child) == 0
    assert late < 1.0


def test_a_large_call_is_not_passed_for_ever_by_small_ones_of_other_processes(store):
    """Four processes keep half of the room busy with small calls; the large one needs nearly all of it."""
    keeper = keeper_of(store, rk.Budget(usd="0.01"))
    end = time.monotonic() + 8

    def small():
        while time.monotonic() < end:
            spend(keeper, Usage(1, 1), seconds=0.02, max_tokens=3_500)

    children = [forked(small) for _ in range(4)]
    time.sleep(0.5)
    began = time.monotonic()
    spend(keeper, Usage(1, 1), max_tokens=15_000)
    waited = time.monotonic() - began
    assert [code_of(child) for child in children] == [0] * 4
    assert waited < 5


def test_a_call_in_the_parent_is_not_given_back_by_its_child(store):
    budget = rk.Budget(usd="0.0001")
    keeper = keeper_of(store, budget)

    def work():
        held = _looked_up(keeper, budget)[0]["reserved"]
        call.settle(Usage(1, 1))
        assert _looked_up(keeper, budget)[0]["reserved"] == held

    with keeper.gate("openai", "acct").call(Request(MODEL, "hello", max_tokens=100)) as call:
        assert code_of(forked(work)) == 0
        call.settle(Usage(1, 1))
    assert budget.spent()["tokens"] == 2
    assert _looked_up(keeper, budget)[0]["reserved"]["usd"] == "0"


# --- retries ----------------------------------------------------------------------------------------------


def test_an_outage_seen_by_six_processes_is_not_multiplied_by_six(store):
    """All calls fail: together they may try again as often as one process, and once in ten seconds."""
    keeper = keeper_of(store, retry=rk.RetryPolicy(3, wait_initial=0.001, wait_max=0.002))
    reading, writing = os.pipe()

    def work():
        for _ in range(10):
            sent = []
            with pytest.raises(ConnectionError):
                fail(sent)
            os.write(writing, bytes([len(sent) - 1]))

    def fail(sent):
        for call in keeper.gate("openai", "acct").attempts(Request(MODEL, "hello", max_tokens=9)):
            with call:
                sent.append(call)
                raise ConnectionError("no route")

    children = [forked(work) for _ in range(6)]
    os.close(writing)
    retries = b"".join(iter(lambda: os.read(reading, 8192), b""))
    assert [code_of(child) for child in children] == [0] * 6
    assert len(retries) == 60
    assert 8 <= sum(retries) <= 11  # 7 of 14 each from 100, and one that is lent in ten seconds
    assert keeper.status()["retry_budgets"] == {}
    keeper.limiter(f"openai/acct/{MODEL}")
    assert keeper.status()["retry_budgets"][f"openai/acct/{MODEL}"] < 14


def test_a_success_in_one_process_earns_for_all(store):
    here, there = (rk.RetryBudget(store=store, scope="openai/acct/m") for _ in range(2))
    assert here.try_take("connection")
    assert (here.balance, there.balance) == (86, 86)
    there.succeeded()
    there.succeeded("connection")
    assert (here.balance, rk.RetryBudget(store=store, scope="another").balance) == (100, 100)
    with pytest.raises(rk.ConfigError, match="capacity"):
        rk.RetryBudget(50, store=store)


# --- what can go wrong ------------------------------------------------------------------------------------


@pytest.fixture
def file_away(tmp_path):
    """Takes the store's file away until it is called again."""
    file, away = tmp_path / "quota.db", tmp_path / "away.db"

    def turn():
        if away.exists():
            away.rename(file)
            time.sleep(1.5)  # a lost file is tried once a second
        else:
            file.rename(away)
            file.touch()
            time.sleep(3.0)  # until this process looks whether the file is still there

    return turn


def test_a_closed_store_that_is_gone_refuses_calls_and_hears_later_what_was_taken(store, file_away, caplog):
    budget = rk.Budget(calls=9)
    keeper_of(store, budget, store_lost="closed")
    purses = (budget.purse({}, time.time()),)
    hold = claim.claim(purses, claim.Outlay(0, 70, 1), None)
    file_away()
    with pytest.raises(rk.StoreError):
        claim.claim(purses, claim.Outlay(0, 70, 1), None)
    claim.settle(hold, purses, 0, 40, 1)
    assert "counts in full until it can be told" in caplog.text
    with pytest.raises(rk.StoreError):
        budget.spent()
    file_away()
    claim.claim(purses, claim.Outlay(0, 70, 1), None).settle(0, 5, 1)
    assert budget.spent() == {"usd": 0, "tokens": 45, "calls": 2}


def test_without_the_store_calls_go_on_with_a_share_and_it_hears_later_what_was_taken(store, file_away):
    budget, one = rk.Budget(calls=9), claim.Outlay(0, 70, 1)
    keeper = keeper_of(store, budget, retry=rk.RetryPolicy())
    purses = (budget.purse({}, time.time()),)
    hold = claim.claim(purses, one, None)
    file_away()
    for call in keeper.gate("openai", "acct").attempts(Request(MODEL, "hello", max_tokens=9)):
        with call:
            call.settle(Usage(2, 3))
    for _ in range(7):
        claim.claim(purses, one, None).settle(0, 5, 1)
    with pytest.raises(rk.BudgetExceededError):
        claim.claim(purses, one, None)
    claim.settle(hold, purses, 0, 40, 1)
    file_away()
    with pytest.raises(rk.BudgetExceededError):
        claim.claim(purses, one, None)
    assert budget.spent() == {"usd": Decimal("0.0000021"), "tokens": 80, "calls": 9}


def test_the_pulse_tells_a_file_that_is_back_what_a_process_took_that_calls_no_more(store, file_away):
    budget = rk.Budget(calls=9)
    keeper_of(store, budget)
    purses = (budget.purse({}, time.time()),)
    claim.claim(purses, claim.Outlay(0, 0, 1), None).settle(0, 0, 1)
    file_away()
    claim.claim(purses, claim.Outlay(0, 0, 1), None).settle(0, 0, 1)
    file_away()
    another = """
        import sys, ratekeeper as rk
        budget = rk.Budget(calls=9)
        keeper = rk.Keeper(budgets=[budget], store=sys.argv[1])
        print(budget.spent()["calls"])
    """
    until(lambda: script(another, store).communicate()[0] == "2\n", "the file is told")
