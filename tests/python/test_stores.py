"""One quota for real processes: forked, spawned and killed, on one SQLite file."""

import asyncio
import mmap
import os
import random
import signal
import struct
import time
from datetime import timedelta

import pytest
from children import at_once, code_of, forked, script

import ratekeeper as rk

#: How long a process is believed to be there after its last sign of life, and a little.
MISSED = 12.0


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path}/quota.db"


def remaining(limiter):
    return limiter.status()["limits"][0]["remaining"]


# --- one quota --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_limiter_made_before_the_fork_shares_its_quota_with_the_children(store):
    limiter = rk.RateLimiter(rk.Quota(rpd=100, concurrency=2), store=store)
    held = limiter.try_acquire()

    def work():
        assert limiter.status()["in_flight"] == 1
        with limiter.acquire(timeout=5):
            assert limiter.try_acquire() is None
        held.settle()  # the parent's: without effect
        assert limiter.status()["in_flight"] == 1

    assert code_of(forked(work)) == 0
    assert (remaining(limiter), limiter.status()["in_flight"]) == (98, 1)
    held.settle()
    assert limiter.status()["in_flight"] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_that_begin_at_once_make_the_file_together(tmp_path):
    assert at_once(lambda number: rk.Keeper(rk.Quota(rpm=60), store=f"sqlite:///{tmp_path}/{number}.db"))


def test_processes_of_their_own_share_what_they_name(store):
    limiter = rk.RateLimiter(rk.Quota(rpd=100), name="shared", store=store)
    text = """
        import sys, ratekeeper as rk
        limiter = rk.RateLimiter(rk.Quota(rpd=100), name="shared", store=sys.argv[1])
        for _ in range(10):
            with limiter.acquire():
                pass
    """
    children = [script(text, store) for _ in range(4)]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (0, "")
    assert remaining(limiter) == 60


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_who_waits_for_another_processs_permit_gets_it_soon(store, kind):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), store=store)
    reading, writing = os.pipe()

    def work():
        with limiter.acquire():
            os.write(writing, b"held")
            time.sleep(0.3)
            freed = struct.pack("d", time.monotonic())
        os.write(writing, freed)

    child = forked(work)
    assert os.read(reading, 4) == b"held"
    if kind == "thread":
        limiter.acquire(timeout=10).wait().close()
    else:

        async def wait():
            async with limiter.acquire(timeout=10):
                pass

        asyncio.run(wait())
    late = time.monotonic() - struct.unpack("d", os.read(reading, 8))[0]
    assert code_of(child) == 0
    assert late < 0.5


def test_what_was_used_and_learned_is_there_after_a_restart(store):
    for left in (98, 97, 96):  # the headroom takes one
        keeper = rk.Keeper(rk.Quota(rpd=100), store=store, name=f"keeper {left}")
        limiter = keeper.limiter("openai/prod/gpt-4o")
        limiter.acquire().wait().settle()
        assert remaining(limiter) == left
        del keeper, limiter


def test_accounts_and_tenants_are_shared_too(store):
    def limiters():
        account = rk.RateLimiter(rk.Quota(rpd=100), name="account", store=store)
        tenants = {"*": rk.Quota(rpd=2)}
        return account, rk.RateLimiter(rk.Quota(rpd=50), name="model", within=account, tenants=tenants)

    one, other = limiters(), limiters()
    assert one[1].try_acquire(tenant="acme")
    assert other[1].try_acquire(tenant="acme")
    assert one[1].try_acquire(tenant="acme") is None
    assert other[1].try_acquire(tenant="globex")
    assert [remaining(limiter) for limiter in (*one, *other)] == [97, 47, 97, 47]


# --- processes that end -----------------------------------------------------------------------------------


def test_a_process_that_ends_in_peace_gives_its_permits_back_at_once(store):
    limiter = rk.RateLimiter(rk.Quota(concurrency=3), name="shared", store=store)
    text = """
        import sys, ratekeeper as rk
        limiter = rk.RateLimiter(rk.Quota(concurrency=3), name="shared", store=sys.argv[1])
        held = [limiter.try_acquire() for _ in range(3)]
        print(limiter.status()["in_flight"])
    """
    output, errors = script(text, store).communicate(timeout=60)
    assert (output.strip(), errors) == ("3", "")
    assert limiter.status()["in_flight"] == 0


def churn(limiter, counts, place):
    """Takes and gives for ever, and counts what it was given where a kill does not lose it."""
    dice = random.Random(place)
    while True:
        lease = limiter.acquire(timeout=60).wait()
        counts[place * 8 : place * 8 + 8] = struct.pack(
            "q", struct.unpack_from("q", counts, place * 8)[0] + 1
        )
        if dice.random() < 0.3:
            time.sleep(dice.random() * 0.02)
        lease.settle()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_hundred_killed_processes_leave_nothing_behind(store):
    """Each is killed at a random moment, in mid-transaction too; then all permits come back, and every grant was booked."""
    most, permits, kills = 100_000, 60, 100
    quota = rk.Quota(rk.Limit("requests", most, timedelta(days=31)), concurrency=permits)
    limiter = rk.RateLimiter(quota, store=store)
    counts, dice, running, held = mmap.mmap(-1, kills * 8), random.Random(1), [], 0
    for place in range(kills):
        running.append(forked(lambda place=place: churn(limiter, counts, place)))
        while len(running) > (2 if place < kills - 1 else 0):
            time.sleep(dice.random() * 0.04)
            pid = running.pop(dice.randrange(len(running)))
            os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(code_of(pid)) == signal.SIGKILL
            held = max(held, limiter.status()["in_flight"])
    died = time.monotonic()
    assert 0 < held <= permits
    while limiter.status()["in_flight"] > 0:
        assert time.monotonic() - died < MISSED
        time.sleep(0.1)
    counted, booked = sum(struct.unpack(f"{kills}q", counts)), most - remaining(limiter)
    assert counted > kills
    # A kill between the grant and the counting of it hides one; what flows back in a month's quota is no more.
    assert counted - 2 <= booked <= counted + kills


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_was_stopped_for_long_has_lost_its_leases(store):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), store=store)
    reading, writing = os.pipe()

    def work():
        lease = limiter.try_acquire()
        os.write(writing, b"held")
        time.sleep(0.5)  # it is stopped in here, and goes on when it is late
        try:
            lease.settle()
        except rk.LeaseError:
            os.write(writing, b"lost")

    child = forked(work)
    assert os.read(reading, 4) == b"held"
    os.kill(child, signal.SIGSTOP)
    with limiter.acquire(timeout=MISSED):
        os.kill(child, signal.SIGCONT)
        assert os.read(reading, 4) == b"lost"
        assert code_of(child) == 0
        assert limiter.status()["in_flight"] == 1


# --- forks ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_many_forks_under_load_all_work_and_the_parent_goes_on(store, threads):
    limiter = rk.RateLimiter(rk.Quota(rpm=10_000_000, concurrency=3), store=store)
    end = []

    def load():
        while not end:
            with limiter.acquire(timeout=30):
                time.sleep(0)

    running = [threads(load) for _ in range(3)]

    def work():
        for _ in range(20):
            with limiter.acquire(timeout=30):
                pass

    try:
        assert [code_of(forked(work)) for _ in range(25)] == [0] * 25
    finally:
        end.append(True)
    for thread in running:
        thread.join(30)
    assert limiter.status()["in_flight"] == 0


# --- what is wrong is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["sqlite:///", "sqlite://quota.db", "quota.db", "mysql://root:secret@host/db", ""]
)
def test_a_url_that_names_no_store_is_refused_without_showing_it(url):
    with pytest.raises(rk.ConfigError, match="store") as refusal:
        rk.Keeper(store=url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("made", ["keeper", "limiter"])
def test_three_slashes_begin_at_the_working_directory_of_the_moment_it_is_made(tmp_path, monkeypatch, made):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if made == "keeper":
        keeper = rk.Keeper(rk.Quota(rpd=10), store="sqlite:///quota.db")
        monkeypatch.chdir(tmp_path / "there")
        limiter = keeper.limiter("openai/prod/gpt-4o")
    else:
        limiter = rk.RateLimiter(rk.Quota(rpd=10), name="openai/prod/gpt-4o", store="sqlite:///quota.db")
        monkeypatch.chdir(tmp_path / "there")
    assert limiter.try_acquire()
    assert list((tmp_path / "there").iterdir()) == []
    absolute = rk.RateLimiter(
        rk.Quota(rpd=10), name="openai/prod/gpt-4o", store=f"sqlite:///{tmp_path}/here/quota.db"
    )
    assert absolute.status()["limits"][0]["remaining"] == 9


def test_a_store_that_cannot_be_used_is_refused_when_the_keeper_is_made(tmp_path):
    with pytest.raises(rk.StoreError, match="has to be a folder"):
        rk.Keeper(store=f"sqlite:///{tmp_path}/no/such/folder/quota.db")
    (tmp_path / "text.db").write_text("this is no database, and long enough to be seen as none" * 100)
    with pytest.raises(rk.StoreError, match="damaged or no SQLite file") as refusal:
        rk.RateLimiter(rk.Quota(rpm=1), store=f"sqlite:///{tmp_path}/text.db")
    assert refusal.value.store == f"{tmp_path}/text.db"


def test_nothing_beside_within(store):
    outer = rk.RateLimiter(rk.Quota(rpm=1))
    for setting in ({"store": store}, {"store_lost": "open"}):
        with pytest.raises(rk.ConfigError, match="store"):
            rk.RateLimiter(rk.Quota(rpm=1), name="inner", within=outer, **setting)


def test_the_file_and_the_environment_name_the_store(tmp_path):
    file = tmp_path / "ratekeeper.toml"
    file.write_text(f'store = "sqlite:///{tmp_path}/quota.db"\n')
    rk.Keeper.from_config(file)
    assert (tmp_path / "quota.db").exists()
