"""What happens when a shared store is lost: real processes on a real file that is moved, full, or held by somebody stopped."""

import logging
import os
import resource
import signal
import sqlite3
import time

import pytest
from children import code_of, forked
from test_stores import remaining

import ratekeeper as rk

#: Seconds within which a loss and a return are noticed and said: a sign of life every two seconds, and a try every second.
NOTICED = 12.0


@pytest.fixture
def file(tmp_path):
    return tmp_path / "quota.db"


@pytest.fixture
def store(file):
    return f"sqlite:///{file}"


def move(file, other):
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(f"{file}{suffix}"):
            os.rename(f"{file}{suffix}", f"{other}{suffix}")


def until(condition):
    """Waits for what takes a moment."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < NOTICED
        time.sleep(0.05)


def state(limiter):
    return limiter.status()["store"]["state"]


def lines(caplog, store):
    records = [record for record in caplog.records if record.name == "ratekeeper"]
    return [record for record in records if f"the store {store} is " in record.getMessage()]


def test_the_status_tells_about_the_store(store):
    limiter = rk.RateLimiter(rk.Quota(rpm=600), store=store)
    status = limiter.status()["store"]
    since = status.pop("since")
    assert 0 <= since < NOTICED
    assert status == {
        "url": store,
        "state": "ok",
        "processes": 1,
        "policy": "share",
        "losses": 0,
        "decided_alone": 0,
    }
    keeper = rk.Keeper(rk.Quota(rpm=600), store=store, store_lost="open")
    assert keeper.status()["store"] is None
    keeper.limiter("openai/prod/gpt-4o")
    assert keeper.status()["store"]["policy"] == "open"


def test_a_lost_file_fails_no_call_and_is_said_once_and_once_when_it_is_back(store, file, caplog):
    caplog.set_level(logging.INFO, "ratekeeper")
    limiter = rk.RateLimiter(rk.Quota(rpd=100), store=store)
    held = limiter.try_acquire()
    move(file, f"{file}.away")
    until(lambda: state(limiter) == "lost")
    limiter.acquire().wait().settle()
    held.settle()
    until(lambda: lines(caplog, store))
    time.sleep(3)
    (lost,) = lines(caplog, store)
    assert lost.levelno == logging.WARNING
    for text in (store, "removed or replaced", "1/1 of each quota", 'store_lost="share"'):
        assert text in lost.getMessage()
    move(f"{file}.away", file)
    until(lambda: state(limiter) == "ok")
    until(lambda: len(lines(caplog, store)) == 2)
    back = lines(caplog, store)[1]
    assert back.levelno == logging.INFO
    assert "there again" in back.getMessage()
    assert "1 calls were granted without it" in back.getMessage()
    assert (remaining(limiter), limiter.status()["in_flight"]) == (98, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_keep_to_their_shares_and_all_that_they_did_is_there_afterwards(store, file):
    """Three processes ask for all they can get while the file is away: each gets a third of what was left."""
    limiter = rk.RateLimiter(rk.Quota(rpd=300), store=store)
    reading, writing = os.pipe()

    def work():
        until(lambda: limiter.status()["store"]["processes"] == 3)
        os.write(writing, b"r")
        until(lambda: state(limiter) == "lost")
        count = 0
        while limiter.try_acquire():
            count += 1
        assert count == 100
        until(lambda: state(limiter) == "ok")

    children = [forked(work) for _ in range(2)]
    until(lambda: limiter.status()["store"]["processes"] == 3)
    assert os.read(reading, 1) + os.read(reading, 1) == b"rr"
    move(file, f"{file}.away")
    time.sleep(6)
    assert state(limiter) == "lost"
    move(f"{file}.away", file)
    assert [code_of(child) for child in children] == [0, 0]
    until(lambda: state(limiter) == "ok")
    assert remaining(limiter) == 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_full_disk_fails_no_call_and_all_is_there_when_there_is_room_again(store):
    limiter = rk.RateLimiter(rk.Quota(rpd=100), store=store)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        held = limiter.try_acquire()
        until(lambda: limiter.status()["store"]["processes"] == 2)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, most))
        assert limiter.try_acquire()
        held.settle()
        assert state(limiter) == "lost"
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        until(lambda: state(limiter) == "ok")
        assert remaining(limiter) == 98

    assert code_of(forked(work)) == 0
    assert remaining(limiter) == 98


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_is_stopped_in_mid_decision_holds_nobody_up_for_long(store, file):
    limiter = rk.RateLimiter(rk.Quota(rpd=100), store=store)
    limiter.acquire().wait().settle()
    reading, writing = os.pipe()

    def work():
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        os.write(writing, b"held")
        time.sleep(60)

    child = forked(work)
    assert os.read(reading, 4) == b"held"
    os.kill(child, signal.SIGSTOP)
    longest = 0.0
    for _ in range(30):
        start = time.monotonic()
        limiter.acquire().wait().settle()
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.1)
    assert longest < 5
    assert state(limiter) == "lost"
    os.kill(child, signal.SIGKILL)
    code_of(child)
    until(lambda: state(limiter) == "ok")
    assert remaining(limiter) == 69


def test_open_grants_everything_and_closed_says_why_not(store, file):
    kinds = {
        kind: rk.RateLimiter(rk.Quota(rpd=3), name=kind, store=store, store_lost=kind)
        for kind in ("open", "closed")
    }
    held = kinds["closed"].try_acquire()
    move(file, f"{file}.away")
    until(lambda: all(state(limiter) == "lost" for limiter in kinds.values()))
    for _ in range(20):
        kinds["open"].acquire().wait().settle()
    for act in (kinds["closed"].try_acquire, lambda: kinds["closed"].acquire().wait()):
        with pytest.raises(rk.StoreError, match="removed or replaced"):
            act()
    held.settle()
    move(f"{file}.away", file)
    until(lambda: all(state(limiter) == "ok" for limiter in kinds.values()))
    assert kinds["closed"].try_acquire()
    assert (remaining(kinds["open"]), remaining(kinds["closed"])) == (0, 1)


def test_a_file_that_was_deleted_is_not_made_anew_in_silence(store, file):
    limiter = rk.RateLimiter(rk.Quota(rpd=10), store=store)
    limiter.acquire().wait().settle()
    file.unlink()
    until(lambda: state(limiter) == "lost")
    time.sleep(2)
    assert not file.exists()
    with pytest.raises(rk.StoreError, match="removed or replaced"):
        rk.Keeper(store=store)


def test_a_keeper_goes_on_with_models_it_has_not_seen_before(store, file):
    keeper = rk.Keeper(rk.Quota(rpd=100), store=store)
    first = keeper.limiter("openai/prod/gpt-4o")
    move(file, f"{file}.away")
    until(lambda: state(first) == "lost")
    second = keeper.limiter("openai/prod/gpt-4o-mini")
    second.acquire().wait().settle()
    move(f"{file}.away", file)
    until(lambda: state(second) == "ok")
    assert remaining(second) == 98


def test_the_policy_is_checked_and_can_be_set_in_the_file_and_the_environment(store, tmp_path, monkeypatch):
    for make in (
        lambda: rk.Keeper(store=store, store_lost="opne"),
        lambda: rk.RateLimiter(rk.Quota(rpm=1), store=store, store_lost="opne"),
        lambda: rk.RateLimiter(rk.Quota(rpm=1), store_lost="open"),
    ):
        with pytest.raises(rk.ConfigError, match="store_lost"):
            make()
    settings = tmp_path / "ratekeeper.toml"
    settings.write_text(f'store = "{store}"\nstore_lost = "open"\nquota.rpm = 60\n')

    def policy():
        keeper = rk.Keeper.from_config(settings)
        keeper.limiter("openai/prod/gpt-4o")
        return keeper.status()["store"]["policy"]

    assert policy() == "open"
    monkeypatch.setenv("RATEKEEPER_STORE_LOST", "closed")
    assert policy() == "closed"
    monkeypatch.setenv("RATEKEEPER_STORE_LOST", "never")
    with pytest.raises(rk.ConfigError, match="store_lost"):
        policy()
