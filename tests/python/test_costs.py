"""The tracker in memory: what goes in comes out, exactly, by whoever spent it."""

import csv
import io
import json
import logging
import threading
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratekeeper as rk
from ratekeeper.costs import Spend
from ratekeeper.costs.spend import usd_of
from ratekeeper.costs.times import micros_of
from ratekeeper.providers import Usage


class Price(NamedTuple):
    id: str
    input: int
    output: int


class Cost(NamedTuple):
    pico_usd: int
    price: Price

    @property
    def usd(self):
        return usd_of(self.pico_usd)


KNOWN = {
    "small": Price("test/small", 150_000, 600_000),
    "large": Price("test/large", 2_500_000, 10_000_000),
}


class PerToken:
    """Prices of two models, in pico-USD a token."""

    def cost(self, usage, model, provider="", *, at=None):
        price = KNOWN.get(model)
        if price is None:
            return None
        return Cost(usage.input_tokens * price.input + usage.output_tokens * price.output, price)


@pytest.fixture
def costs():
    return rk.CostTracker(prices=PerToken())


def test_a_recorded_usage_is_an_entry_with_its_cost(costs):
    entry = costs.record(
        Usage(1000, 200, cache_read_tokens=300),
        model="small",
        provider="openai",
        tags={"job": "42", "agent": "writer"},
        waited=0.25,
        duration=1.5,
        attempt=2,
    )
    assert (entry.number, entry.model, entry.scope, entry.price) == (1, "small", "openai", "test/small")
    assert entry.usage[:5] == (1000, 200, 300, 0, 0)
    assert entry.pico_usd == 1000 * 150_000 + 200 * 600_000
    assert entry.usd == Decimal("0.00027")
    assert entry.tags == {"agent": "writer", "job": "42"}
    assert (entry.waited, entry.duration, entry.attempt) == (0.25, 1.5, 2)
    assert (entry.outcome, entry.estimated) == ("answered", False)
    assert abs(datetime.now(timezone.utc) - entry.time) < timedelta(seconds=30)
    assert list(costs.entries()) != []


def test_what_did_job_42_cost_and_which_agent_spent_it(costs):
    for job, agent, model, tokens in [
        ("42", "writer", "small", 1000),
        ("42", "editor", "large", 1000),
        ("42", "writer", "small", 500),
        ("43", "writer", "large", 9),
    ]:
        costs.record(Usage(tokens, 0), model=model, tags={"job": job, "agent": agent})
    assert costs.total(job="42").usd == Decimal("0.002725")
    by_agent = costs.by("agent", job="42")
    assert [(row.key, row.spend.usd) for row in by_agent] == [
        ({"agent": "editor"}, Decimal("0.0025")),
        ({"agent": "writer"}, Decimal("0.000225")),
    ]
    assert by_agent.get("writer").calls == 2
    assert by_agent.get("nobody") is None
    assert costs.by("agent", "model", job="42").get("editor", "large").input_tokens == 1000
    assert by_agent.total() == costs.total(job="42")
    assert costs.total(model="large", agent="writer").calls == 1
    assert costs.total(job="44") == Spend()


def test_tags_in_force_are_those_of_the_entry_unless_others_are_given(costs):
    with rk.tags(job="7", agent="a"):
        assert costs.record(Usage(1, 1), model="small").tags == {"job": "7", "agent": "a"}
        assert costs.record(Usage(1, 1), model="small", tags={}).tags == {}
        # The wrappers give what `tags` gives: a read-only mapping.
        from ratekeeper.tags import current

        assert costs.book(Usage(1, 1), 1, tags=current()).tags == {"job": "7", "agent": "a"}


@pytest.mark.parametrize(
    "usage",
    [
        {"usage": {"prompt_tokens": 10, "completion_tokens": 2}},
        {"prompt_tokens": 10, "completion_tokens": 2},
        {"usage": {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 2}},
        {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2}},
        {"usage": {"inputTokens": 10, "outputTokens": 2}},
    ],
)
def test_usage_is_read_as_each_provider_reports_it(costs, usage):
    assert costs.record(usage, model="small").usage[:2] == (10, 2)


def test_an_unknown_model_is_unpriced_and_said_once(costs, caplog):
    with caplog.at_level(logging.INFO, "ratekeeper"):
        for _ in range(3):
            costs.record(Usage(100, 10), model="mystery")
        costs.record(Usage(100, 10), model="small")
    assert [record.message.count("mystery") for record in caplog.records] == [1]
    spend = costs.total()
    assert (spend.unpriced, spend.unpriced_tokens, spend.pico_usd) == (3, 330, 21_000_000)
    assert costs.entries()[0].usd is None
    assert "330 tokens unpriced" in str(spend)


def test_an_attempt_whose_usage_nobody_told_is_marked(costs):
    entry = costs.record(None, model="small", outcome="abandoned")
    assert (entry.usage, entry.usd) == (None, None)
    costs.record(None, model="small", outcome="failed")
    spend = costs.total()
    assert (spend.calls, spend.unmetered, spend.abandoned, spend.failed) == (2, 1, 1, 1)
    assert "1 of unknown usage" in str(spend)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"usage": Usage(-1, 0)}, "input_tokens"),
        ({"usage": Usage(0, 10**13)}, "output_tokens"),
        ({"usage": Usage(0, 0, 0, -5)}, "cache_write_tokens"),
        ({"usage": {"answer": 42}}, "usage"),
        ({"model": ""}, "model"),
        ({"waited": -1.0}, "waited"),
        ({"duration": float("nan")}, "duration"),
        ({"outcome": "won"}, "outcome"),
        ({"attempt": 0}, "attempt"),
        ({"at": 1e30}, "at"),
    ],
)
def test_bad_values_are_refused_by_name_and_not_booked(costs, wrong, field):
    with pytest.raises(rk.ConfigError) as caught:
        costs.record(**{"usage": Usage(1, 1), "model": "unknown", **wrong})
    assert caught.value.field == field
    assert costs.total().calls == 0


def test_wrong_types_are_refused_by_name(costs):
    for wrong, field in [
        ({"tags": {"job": 42}}, "tags"),
        ({"tags": "job"}, "tags"),
        ({"usage": 42}, "usage"),
        ({"price": 1}, "price"),
    ]:
        with pytest.raises(TypeError, match=field):
            costs.book(**{"usage": Usage(1, 1), "pico_usd": 1, **wrong})
    with pytest.raises(rk.ConfigError, match="pico_usd"):
        costs.book(Usage(1, 1), -1)
    with pytest.raises(rk.ConfigError, match="prices"):
        rk.CostTracker(prices={"gpt": 1})
    with pytest.raises(rk.ConfigError, match="entries"):
        rk.CostTracker(entries=-1)
    assert costs.total().calls == 0


def test_the_core_reads_a_usage_by_the_order_of_its_fields():
    from ratekeeper.costs import Entry

    usage = Usage(*[number if name != "tier" else "flex" for number, name in enumerate(Usage._fields, 1)])
    entry = rk.CostTracker().book(usage, 1)
    assert isinstance(entry, Entry)
    assert entry.usage == usage
    spend = rk.CostTracker()
    spend.book(usage, 1)
    total = spend.total()
    assert all(getattr(total, name) == getattr(usage, name) for name in Usage._fields if name != "tier")


def test_money_is_exact_whatever_the_decimal_context():
    costs = rk.CostTracker(prices=PerToken())
    with localcontext() as context:
        context.prec = 3
        for _ in range(7):
            costs.book(Usage(1, 1), 2**62 + 1)
        assert costs.total().usd == Decimal("32281802.128991715335")
    assert str(usd_of(-1_500_000_000_000)) == "-1.50"
    assert usd_of(1) == Decimal("1E-12")


def test_times_choose_attempts(costs, clock):
    noon = datetime(2026, 3, 29, 12, tzinfo=timezone.utc)
    for hour in range(48):
        costs.record(Usage(1, 0), model="small", at=noon + timedelta(hours=hour))
    assert costs.total(since=noon + timedelta(hours=10)).calls == 38
    assert costs.total(since=noon, until=noon + timedelta(hours=3)).calls == 3
    assert costs.total(since="2026-03-30T00:00:00Z", until="2026-03-31T00:00:00+00:00").calls == 24
    assert costs.total(since=noon.timestamp() + 3600.0 * 47).calls == 1
    # Half an hour lies inside of a cell: read from the entries.
    assert costs.total(until=noon + timedelta(seconds=1)).calls == 1

    manual = rk.CostTracker(prices=PerToken(), clock=clock)
    manual.record(Usage(1, 0), model="small")
    clock.advance(7200)
    manual.record(Usage(1, 0), model="small")
    assert [entry.at for entry in manual.entries()] == [0.0, 7200.0]
    assert manual.total(since="1h").calls == manual.total(since=timedelta(hours=1)).calls == 1
    assert manual.total(since="3h").calls == 2
    assert [entry.at for entry in manual.entries(until="1h")] == [0.0]


@pytest.mark.parametrize("wrong", ["yesterday", "24 hours", True, float("inf"), object()])
def test_a_time_that_cannot_be_read_is_refused(costs, wrong):
    with pytest.raises(rk.ConfigError, match="since"):
        costs.total(since=wrong)


def test_a_naive_datetime_is_local():
    local = datetime(2026, 1, 1, 12)
    assert micros_of(local, "since", 0.0) == round(local.timestamp() * 1e6)


def test_subscribers_are_told_until_they_leave(costs, caplog):
    seen, others = [], []

    def fails(entry):
        raise ZeroDivisionError

    subscription = costs.subscribe(seen.append)
    with costs.subscribe(others.append), caplog.at_level(logging.ERROR, "ratekeeper"):
        end = costs.subscribe(fails)
        costs.record(Usage(1, 1), model="small", tags={"job": "1"})
        costs.record(Usage(1, 1), model="small")
        end()
    assert len([record for record in caplog.records if "raised" in record.message]) == 1
    costs.record(Usage(1, 1), model="small")
    subscription.close()
    subscription.close()
    costs.record(Usage(1, 1), model="small")
    assert [entry.number for entry in seen] == [1, 2, 3]
    assert seen[0].tags == {"job": "1"}
    assert len(others) == 2


def test_rows_take_the_shapes_that_others_read(costs):
    costs.record(Usage(1000, 200), model="small", tags={"agent": 'say "hi", you'})
    costs.record(Usage(10, 2), model="mystery", tags={"agent": "b", "job": "1"})
    dicts = costs.by("agent").to_dicts()
    assert dicts[0]["agent"] == 'say "hi", you'
    assert dicts[0]["usd"] == Decimal("0.00027")
    assert [json.loads(costs.by("agent").to_json())[place]["usd"] for place in (0, 1)] == ["0.00027", "0.00"]
    read = list(csv.DictReader(io.StringIO(costs.entries().to_csv())))
    assert [row["tag.agent"] for row in read] == ['say "hi", you', "b"]
    assert [(row["tag.job"], row["usd"], row["pico_usd"]) for row in read] == [
        ("", "0.00027", "270000000"),
        ("1", "", ""),
    ]
    entries = json.loads(costs.entries(job="1").to_json(indent=1))
    assert entries[0]["usd"] is None
    assert entries[0]["input_tokens"] == 10
    assert len(costs.entries()[:1]) == 1
    assert costs.by().to_csv().count("\n") == 2


def test_a_dataframe_is_made_where_there_is_a_library_for_it(costs):
    import importlib.util

    costs.record(Usage(1000, 200), model="small", tags={"agent": "a"})
    if not any(importlib.util.find_spec(name) for name in ("pandas", "polars")):
        with pytest.raises(ImportError, match="pip install pandas"):
            costs.by("agent").to_dataframe()
        return
    frame = costs.by("agent").to_dataframe()
    assert frame.shape[0] == 1
    assert list(frame["agent"]) == ["a"]
    assert list(frame["usd"]) == [0.00027]
    assert list(costs.entries().to_dataframe()["tag.agent"]) == ["a"]


def test_the_table_is_for_people(costs):
    costs.record(Usage(120_000, 2_000), model="small", tags={"agent": "writer"}, waited=2.1)
    costs.record(Usage(1_000_000, 100_000), model="large", tags={"agent": "a\nb" + "x" * 60})
    costs.record(Usage(5, 0), model="mystery")
    assert costs.table(by="agent").splitlines() == [
        "agent                                     calls      input   output     USD  unpriced tokens  waited",
        "----------------------------------------------------------------------------------------------------",
        "a bxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…      1  1,000,000  100,000    3.50                0   0.0 s",
        "writer                                        1    120,000    2,000  0.0192                0   2.1 s",
        "-                                             1          5        0    0.00                5   0.0 s",
        "----------------------------------------------------------------------------------------------------",
        "total                                         3  1,120,005  102,000    3.52                5   2.1 s",
    ]
    assert (
        costs.table(by=["model", "agent"]) == costs.table("model, agent") == str(costs.by("model", "agent"))
    )
    assert rk.CostTracker().table().splitlines()[0].split() == ["model", "calls", "input", "output", "USD"]
    with pytest.raises(rk.ConfigError, match="by"):
        costs.table(by=["model", 7])


def test_a_hundred_threads_lose_nothing(costs, threads):
    start = threading.Barrier(100)

    def work(number):
        start.wait()
        for count in range(50):
            costs.book(
                Usage(number, count), 1, model="m", tags={"thread": str(number % 10), "count": str(count)}
            )

    for thread in [threads(work, number) for number in range(100)]:
        thread.join()
    total = costs.total()
    assert (total.calls, total.input_tokens, total.output_tokens) == (5000, 50 * 4950, 100 * 1225)
    assert total.pico_usd == 5000
    assert {row.spend.calls for row in costs.by("thread")} == {500}
    assert [entry.number for entry in costs.entries()] == list(range(1, 5001))


def test_old_combinations_are_folded_and_an_answer_that_this_concerns_says_so():
    costs = rk.CostTracker(cells=100)
    for job in range(2000):
        costs.book(Usage(1, 1), 10, model="m", tags={"job": str(job), "tenant": f"t{job % 3}"})
    assert costs.total().pico_usd == 20_000
    assert costs.total(tenant="t0").calls == 667
    old, new = costs.total(job="0"), costs.total(job="1999")
    assert (old.calls, new.calls) == (0, 1)
    assert old.folded > 1500
    assert "folded" in str(old)
    assert "(folded)" in costs.table(by="job")
    assert costs.by("job").get(None).calls == old.folded


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["small", "large", "mystery"]),
        st.dictionaries(st.sampled_from(["job", "agent", "тег"]), st.text(max_size=3), max_size=3),
        st.integers(0, 10**9),
        st.integers(0, 10**9),
        st.sampled_from(["answered", "failed", "refused", "abandoned"]),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(ENTRIES)
def test_sums_by_anything_add_up_to_the_whole(entries):
    costs, money, calls = rk.CostTracker(prices=PerToken()), Counter(), Counter()
    for model, tags, sent, answered, outcome in entries:
        entry = costs.record(Usage(sent, answered), model=model, tags=tags, outcome=outcome)
        money[model, tags.get("job", "")] += entry.pico_usd or 0
        calls[model, tags.get("job", "")] += 1
    rows = costs.by("model", "job")
    assert {tuple(row.key.values()): row.spend.calls for row in rows} == dict(calls)
    assert all(row.spend.pico_usd == money[tuple(row.key.values())] for row in rows)
    for columns in [(), ("agent",), ("тег", "scope"), ("price",), ("job", "agent", "model")]:
        assert costs.by(*columns).total() == costs.total()
    for (model, job), count in calls.items():
        assert costs.total(model=model, job=job).calls == count


def test_a_tracker_alone_knows_the_compiled_in_prices_and_refuses_counts_that_cannot_be():
    costs = rk.CostTracker()
    costs.record({"prompt_tokens": 1_000, "completion_tokens": 100}, model="gpt-4o-mini")
    assert costs.total().usd == Decimal("0.00021")
    with pytest.raises(
        rk.ConfigError, match=r"usage.prompt_tokens: expected a whole number of tokens from 0, got -5"
    ):
        costs.record({"prompt_tokens": -5, "completion_tokens": 100}, model="gpt-4o-mini")
    assert costs.total().calls == 1
