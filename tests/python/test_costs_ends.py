"""The store when things end or break: exits, kills, full and read-only disks, damaged and foreign files."""

import logging
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from children import at_once
from ledgers import ended, fill, forked, is_intact

import ratekeeper as rk
from ratekeeper.costs import StoredCosts

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "costs.db"


@pytest.fixture
def tracker(path):
    with rk.CostTracker(store=path, flush=0.02) as made:
        yield made


# --- ends -------------------------------------------------------------------------------------------------

BOOK = """
import os, sys, threading, time
import ratekeeper as rk
from ratekeeper.providers import Usage

costs = rk.CostTracker(store="sqlite:///" + {path!r}, flush=60)

def book(count):
    for number in range(count):
        costs.book(Usage(number, 1), 10, model="m")
"""


@pytest.mark.parametrize(
    "end",
    [
        "book(1000)",
        "book(1000); sys.exit(0)",
        "import atexit; atexit.register(book, 500); book(500)",
        "threading.Thread(target=book, args=(1000,)).start()",
        "book(1000); del costs; import gc; gc.collect()",
        "costs.close(); book(1000)",
    ],
)
def test_all_is_in_the_file_when_the_interpreter_has_exited(script, finish, path, end):
    assert finish(script(BOOK.format(path=str(path)) + end)) == (0, "", "")
    assert StoredCosts(path).total().calls == 1000


@pytest.mark.parametrize("flush", [0, 0.02])
def test_every_settled_entry_survives_kill_9_up_to_the_last_flush(path, flush):
    chance = random.Random(9)
    before = 0
    for _ in range(25):
        read, write = os.pipe()

        def work(write=write):
            costs = rk.CostTracker(store=path, flush=flush)
            number = 0
            while True:
                fill(costs, 1, number, process=str(os.getpid()))
                number += 1
                # What is known to be written: all that `book` returned for, or what the status says.
                known = number if flush == 0 else costs.status()["store"]["written"]
                os.write(write, b"%d %d %f\n" % (known, number, time.monotonic()))
                if flush:
                    time.sleep(0.0005)

        child = forked(work)
        os.close(write)
        with os.fdopen(read, "rb") as told:
            first = told.readline()
            time.sleep(chance.random() * 0.12)
            os.kill(child, signal.SIGKILL)
            killed = time.monotonic()
            lines = [first, *told.readlines()]
        ended(child)
        whole = [line.split() for line in lines if line.endswith(b"\n")]
        # An entry that is older than the interval, and than a second for a busy machine, must be there as well.
        old = [int(number) for _, number, at in whole if float(at) < killed - flush - 1.0]
        stored = StoredCosts(path)
        mine = stored.entries(process=str(child), most=10**6)
        assert len(mine) >= max([int(whole[-1][0]), *old])
        assert [entry.usage.input_tokens for entry in mine] == list(range(len(mine))), (
            "none is missing, none twice"
        )
        assert stored.total().calls == before + len(mine)
        before += len(mine)
    assert before > 25
    assert is_intact(path)


# --- what can be wrong with a disk or a file --------------------------------------------------------------

FULL = """
import logging, resource, sys, time
import ratekeeper as rk
from ratekeeper.providers import Usage

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
costs = rk.CostTracker(store="sqlite:///" + {path!r}, flush=0.01)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))

def book(count, start=0):
    for number in range(start, start + count):
        costs.book(Usage(number, 1), 10, model="m", tags={{"job": str(number // 100)}})

book(20_000)
while costs.status()["store"]["trouble"] is None:
    time.sleep(0.01)
book(100)
assert costs.flush() is False
store = costs.status()["store"]
assert store["written"] + store["waiting"] == 20_100 and store["waiting"] > 0 and store["lost"] == 0, store
assert costs.total().calls == 20_100
"""

AND_THEN_ROOM = """
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert costs.flush() is True
book(100, 20_100)
assert costs.status()["store"]["trouble"] is None
assert costs.stored.total() == costs.total()
"""

AND_NO_ROOM = """
book(110_000, 20_100)
assert costs.status()["store"]["lost"] > 5_000
assert costs.total().calls == 130_100
"""


def test_a_full_disk_is_said_once_and_all_is_written_when_there_is_room(script, finish, path):
    code, output, errors = finish(script(FULL.format(path=str(path)) + AND_THEN_ROOM))
    assert (code, errors) == (0, "")
    first, second = output.splitlines()
    assert first.startswith(f"ERROR the ledger {path}: ")
    assert "wait in memory" in first
    assert second == f"WARNING the ledger {path} is written again"
    assert StoredCosts(path).total().calls == 20_200
    assert is_intact(path)


def test_what_a_full_disk_never_took_is_counted_and_said(script, finish, path):
    code, output, errors = finish(script(FULL.format(path=str(path)) + AND_NO_ROOM))
    assert (code, errors) == (0, "")
    failing, lost, left = output.splitlines()
    assert "wait in memory" in failing
    assert "there is no room for more" in lost
    stored = StoredCosts(path).total().calls
    assert f"is closed without {130_100 - stored} entries that could not be written" in left
    assert is_intact(path)


def test_a_file_that_was_moved_away_is_made_anew(tracker, path):
    fill(tracker, 10)
    assert tracker.flush()
    for ending in ("", "-wal", "-shm"):
        if os.path.exists(f"{path}{ending}"):
            os.rename(f"{path}{ending}", f"{path}.old{ending}")
    fill(tracker, 5)
    assert tracker.stored.total().calls == 5
    assert StoredCosts(f"{path}.old").total().calls == 10


def test_a_file_that_is_held_by_somebody_is_waited_for(tracker, path, caplog):
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begun = time.perf_counter()
    fill(tracker, 100)
    assert time.perf_counter() - begun < 1.0, "calls go on"
    timer = threading.Timer(0.3, lambda: None)
    timer.start()
    timer.join()
    holder.execute("ROLLBACK")
    holder.close()
    assert tracker.stored.total().calls == 100
    assert caplog.records == []


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cookies (id)")
    connection.close()


def text(path):
    path.write_text("once upon a time\n" * 100)


def newer(path):
    rk.CostTracker(store=path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


def torn(path):
    with rk.CostTracker(store=path) as costs:
        fill(costs, 5000)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (foreign, "another application"),
        (text, "no SQLite file"),
        (newer, "newer ratekeeper .format 2"),
        (torn, "damaged"),
        (folder, "cannot be opened"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path, make, says):
    make(path)
    content = None if path.is_dir() else path.read_bytes()
    with pytest.raises(rk.StoreError, match=says) as caught:
        rk.CostTracker(store=path)
    assert caught.value.store == str(path)
    assert content is None or path.read_bytes() == content
    with pytest.raises(rk.StoreError, match=says):
        StoredCosts(path).total()


def test_a_folder_that_is_not_there_and_a_file_that_is_not_there_are_said(tmp_path):
    with pytest.raises(rk.StoreError, match="cannot be opened"):
        rk.CostTracker(store=tmp_path / "nowhere" / "costs.db")
    with pytest.raises(rk.StoreError, match="no such file"):
        StoredCosts(tmp_path / "costs.db").total()
    (tmp_path / "empty.db").touch()
    with pytest.raises(rk.StoreError, match="nobody has written one yet"):
        StoredCosts(tmp_path / "empty.db").total()


def test_a_file_damaged_while_running_costs_no_call_and_is_said(path, caplog):
    costs = rk.CostTracker(store=path, flush=0.01)
    fill(costs, 5000)
    costs.close()
    torn_at = path.read_bytes()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path.write_bytes(path.read_bytes()[:4096] + bytes(len(torn_at)))
    with caplog.at_level(logging.ERROR, "ratekeeper"):
        fill(costs, 10)
        assert costs.flush() is False
        costs.close()
    assert costs.total().calls == 5010
    assert "damaged" in caplog.records[0].message
    assert "without 10 entries" in caplog.records[-1].message


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, where we may make one."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=1m", *options)), "none", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount():
        pytest.skip("only root may mount a file system")
    yield place, lambda: mount("remount", "ro")
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_loses_nothing(small_disk, caplog):
    place, _ = small_disk
    costs = rk.CostTracker(store=place / "costs.db", flush=0.01)
    fill(costs, 50_000)
    assert costs.flush() is False
    fill(costs, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "full" in caplog.records[0].message
    store = costs.status()["store"]
    assert store["written"] + store["waiting"] == 50_001
    assert StoredCosts(place / "costs.db").total().calls == store["written"]
    costs.close()


def test_a_disk_that_cannot_be_written_is_refused_but_can_be_read(small_disk):
    place, protect = small_disk
    path = place / "costs.db"
    with rk.CostTracker(store=path) as costs:
        fill(costs, 10)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    assert protect()
    with pytest.raises(rk.StoreError, match="cannot be written"):
        rk.CostTracker(store=path)
    assert StoredCosts(path).total().calls == 10


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_that_begin_at_once_make_the_file_together(tmp_path):
    assert at_once(lambda number: rk.CostTracker(store=tmp_path / f"{number}.db").close())
