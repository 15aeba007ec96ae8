"""The store: what was booked is in the file, once, by however many threads and processes."""

import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from ledgers import ended, fill, forked, is_intact

import ratekeeper as rk
from ratekeeper.costs import StoredCosts
from ratekeeper.providers import Usage

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "costs.db"


@pytest.fixture
def tracker(path):
    with rk.CostTracker(store=path, flush=0.02) as made:
        yield made


# --- what goes in comes out -------------------------------------------------------------------------------


def test_the_file_answers_as_the_tracker_does(tracker):
    awkward = {"job": 'a"b\\c\n\x01', "тег": "ключ", "empty": ""}
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    kept = tracker.book(
        Usage(7, 5, 3, 2, 1), 2**62, price="p", scope="s", model="m", tags=awkward, waited=1.5, duration=2.25,
        outcome="failed", attempt=3, estimated=True, at=noon,
    )  # fmt: skip
    tracker.book(None, None, model="other", outcome="abandoned", at=noon + timedelta(hours=1))
    fill(tracker, 50)
    stored = tracker.stored
    for question in [
        {},
        {"model": "m"},
        {"agent": "a1"},
        {"agent": ""},
        {"job": awkward["job"]},
        {"since": noon, "until": noon + timedelta(minutes=1)},
        {"since": "1h"},
        {"until": noon},
    ]:
        assert stored.total(**question) == tracker.total(**question)
    assert stored.by("agent", "model").to_dicts() == tracker.by("agent", "model").to_dicts()
    assert stored.table("тег") == tracker.table("тег")
    read = stored.entries(model="m", until=noon + timedelta(hours=1))[0]
    for name in (
        "at",
        "usage",
        "pico_usd",
        "price",
        "scope",
        "tags",
        "waited",
        "duration",
        "outcome",
        "attempt",
        "estimated",
    ):
        assert getattr(read, name) == getattr(kept, name), name
    assert stored.entries(model="other")[0].usage is None
    assert [entry.usage.input_tokens for entry in stored.entries(most=3)] == [47, 48, 49]
    with sqlite3.connect(tracker.status()["store"]["path"]) as people:
        rows = people.execute("SELECT model, usd, outcome, json_extract(tags, '$.job') FROM spend").fetchall()
    people.close()
    assert rows[0] == ("m", 2**62 / 1e12, "failed", awkward["job"])


def test_money_beyond_the_integers_of_sqlite_is_exact(tracker):
    for _ in range(5):
        tracker.book(Usage(1, 1), 2**63 - 1, model="m")
    assert tracker.stored.total().pico_usd == 5 * (2**63 - 1)


def test_entries_are_in_the_file_after_the_interval_without_being_asked_for(tracker, path, eventually):
    fill(tracker, 10)
    eventually(lambda: StoredCosts(path).total().calls == 10)
    assert tracker.status()["store"] == {
        "path": str(path), "written": 10, "waiting": 0, "lost": 0, "trouble": None,
    }  # fmt: skip
    json.dumps(tracker.status())


def test_without_an_interval_an_entry_is_in_the_file_when_book_returns(path):
    with rk.CostTracker(store=path, flush=0) as costs:
        for number in range(1, 20):
            fill(costs, 1)
            assert StoredCosts(path).total().calls == number


def test_a_later_tracker_goes_on_in_the_same_file(path):
    for run in range(3):
        with rk.CostTracker(store=f"sqlite:///{path}") as costs:
            fill(costs, 10, run=str(run))
            assert costs.total().calls == 10
            assert costs.stored.total().calls == 11 * run + 10
        # Opened again by an entry that comes late.
        fill(costs, 1, run=str(run))
        assert costs.stored.total(run=str(run)).calls == 11
        costs.close()
    assert StoredCosts(f"sqlite:///{path}").by("run").total().calls == 33


def test_relative_paths_are_those_of_the_moment_of_opening(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with rk.CostTracker(store="sqlite:///costs.db") as costs:
        monkeypatch.chdir("/")
        fill(costs, 1)
    assert StoredCosts(tmp_path / "costs.db").total().calls == 1


@pytest.mark.parametrize("store", ["costs.db", "redis://here", "sqlite:///", 7, ""])
def test_a_store_that_is_none_is_refused(store):
    with pytest.raises(rk.ConfigError, match="store"):
        rk.CostTracker(store=store)


def test_a_tracker_without_a_store_says_so():
    with pytest.raises(rk.ConfigError, match="store"):
        rk.CostTracker().stored  # noqa: B018
    assert rk.CostTracker().status()["store"] is None
    assert rk.CostTracker().flush() is True


# --- several at once --------------------------------------------------------------------------------------


def test_several_processes_write_one_file_while_it_is_read(path):
    rk.CostTracker(store=path).close()

    def work():
        costs = rk.CostTracker(store=path, flush=0.01)
        for start in range(0, 3000, 100):
            fill(costs, 100, start, process=str(os.getpid()))
            time.sleep(0.002)
        costs.close()

    children = [forked(work) for _ in range(4)]
    seen = []
    while len(seen) < 5 or seen[-1] < 12_000:
        total = StoredCosts(path).total()
        assert total.output_tokens == total.calls
        seen.append(total.calls)
        assert len(seen) < 2000
    assert [ended(child) for child in children] == [0] * 4
    assert seen == sorted(seen)
    assert {row.spend.calls for row in StoredCosts(path).by("process")} == {3000}
    assert is_intact(path)


def test_threads_and_a_child_of_a_busy_process_lose_nothing(path, threads):
    costs = rk.CostTracker(store=path, flush=0.005)
    end = threading.Event()
    counts = [0] * 3

    def churn(place):
        while not end.is_set():
            fill(costs, 20, who="parent")
            counts[place] += 20
            time.sleep(0.001)

    running = [threads(churn, place) for place in range(3)]

    def work():
        signal.alarm(30)
        fill(costs, 100, who="child")
        assert costs.flush()
        assert costs.stored.total(who="child").calls >= 100
        costs.close()

    for _ in range(10):
        time.sleep(0.02)
        assert ended(forked(work)) == 0
    end.set()
    for thread in running:
        thread.join(30)
    assert costs.stored.total(who="parent").calls == sum(counts) == costs.total(who="parent").calls
    assert costs.stored.total(who="child").calls == 1000
    assert costs.total(who="child").calls == 0
    costs.close()
    assert is_intact(path)


def book_in_pool(path, number):
    fill(SHARED[path], 10, number=str(number))


SHARED = {}


@pytest.mark.skipif(sys.platform != "linux", reason="fork is the way of Linux")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_children_of_multiprocessing_write_all_before_they_leave(path):
    SHARED[path] = rk.CostTracker(store=path, flush=60)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=book_in_pool, args=(path, number)) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    SHARED.pop(path).close()
    assert StoredCosts(path).total().calls == 40
