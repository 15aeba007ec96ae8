"""Redis servers that are lost, slow, cut off, emptied and full while they are in use: what becomes of calls, and of the quota.

`RATEKEEPER_LONG_TESTS=1` has the server away for twenty seconds instead of three.
"""

import http.client
import json
import logging
import os
import signal
import threading
import time

import pytest
import servers as real
from children import code_of, forked
from test_stores import remaining

import ratekeeper as rk
from ratekeeper.testing import FakeProvider

IS_LONG = bool(os.environ.get("RATEKEEPER_LONG_TESTS"))
#: Seconds within which a loss and a return are noticed and said.
NOTICED = 12.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def state(limiter):
    return limiter.status()["store"]["state"]


def until(condition):
    """Waits for what takes a moment."""
    real.until(condition, "it", NOTICED)


def turns(caplog, server):
    """What was said of the server: whether it was lost or came back."""
    said = [
        record
        for record in caplog.records
        if f"the store redis://127.0.0.1:{server.port}/0 is" in record.getMessage()
    ]
    return ["lost" if record.levelno == logging.WARNING else "back" for record in said]


def took(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def granted(limiter, most=1_000):
    """How many calls may start now."""
    count = 0
    while count < most and limiter.try_acquire():
        count += 1
    return count


# --- under traffic ----------------------------------------------------------------------------------------

PROCESSES, THREADS, PER_SECOND = 6, 3, 60
BEFORE, AWAY, AFTER = (4.0, 20.0, 8.0) if IS_LONG else (1.5, 3.0, 5.0)


class Traffic:
    """Processes that call a provider as fast as one limiter lets them, and what became of each call."""

    def __init__(self, limiter, provider):
        self._limiter, self._host = limiter, provider.url.removeprefix("http://")
        self.begin = time.monotonic()
        self._end, self._pipes, self._children = self.begin + BEFORE + AWAY + AFTER, [], []
        for _ in range(PROCESSES):
            reading, writing = os.pipe()
            self._pipes.append(reading)
            self._children.append(forked(lambda writing=writing: self._work(writing)))
            os.close(writing)

    def _work(self, writing):
        calls = []
        threads = [threading.Thread(target=self._call, args=(calls,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._limiter.status()  # by then it is told what was ended
        with os.fdopen(writing, "w") as file:
            json.dump(calls, file)

    def _call(self, calls):
        connection = http.client.HTTPConnection(self._host, timeout=30)
        question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Well?"}]}
        headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
        while time.monotonic() < self._end:
            try:
                with self._limiter.acquire(timeout=30):
                    connection.request("POST", "/v1/chat/completions", json.dumps(question), headers)
                    answer = connection.getresponse()
                    answer.read()
                    calls.append((time.monotonic() - self.begin, answer.status))
            except rk.RatekeeperError as error:
                calls.append((time.monotonic() - self.begin, type(error).__name__))

    def calls(self):
        """When each was over, and what its answer was."""
        calls = []
        for pipe in self._pipes:
            with os.fdopen(pipe) as file:
                calls += json.load(file)
        assert [code_of(child) for child in self._children] == [0] * PROCESSES
        return calls


@pytest.mark.parametrize("end", ["stop", "kill", "suspend"] if IS_LONG else ["stop"])
def test_a_server_that_is_away_fails_no_call_of_six_processes_and_the_pace_stays_within_the_quota(
    servers, end
):
    server = servers.server()
    limiter = rk.RateLimiter(
        rk.Quota(rk.Limit("requests", PER_SECOND, 1), concurrency=PROCESSES * THREADS), store=server.url
    )
    with FakeProvider.spawn(
        rpm=PER_SECOND * 1.03, window=1.0, headers=False, latency=0.02, output_tokens=4
    ) as provider:
        traffic = Traffic(limiter, provider)
        time.sleep(BEFORE)
        getattr(server, end)()
        time.sleep(AWAY)
        server.resume() if end == "suspend" else server.start()
        back = time.monotonic() - traffic.begin
        calls = traffic.calls()
    answers = [answer for _, answer in calls]
    others = {answer for answer in answers if answer not in (200, 429)}
    away = [at for at, answer in calls if BEFORE + 1 < at < BEFORE + AWAY and answer == 200]
    after = [at for at, answer in calls if back + 3 < at < BEFORE + AWAY + AFTER and answer == 200]
    pace = len(after) / (BEFORE + AWAY + AFTER - back - 3) / PER_SECOND
    alone = len(away) / (AWAY - 1) / PER_SECOND
    refused = answers.count(429) / len(answers)
    print(
        f"{end}: {len(answers)} calls, {refused:.2%} 429s, {alone:.2f} of the quota while away, {pace:.2f} after it"
    )
    assert others == set()
    assert refused <= 0.02
    assert pace > 0.85
    assert limiter.status()["in_flight"] == 0


# --- what is done without it ------------------------------------------------------------------------------


def test_a_loss_and_the_return_are_said_once_each_and_what_was_done_meanwhile_is_told(servers, caplog):
    caplog.set_level(logging.INFO, "ratekeeper")
    server = servers.server(password="s3cret-pa55")
    limiter = rk.RateLimiter(rk.Quota(rpd=100), store=server.url)
    held = limiter.try_acquire()
    server.stop()
    until(lambda: state(limiter) == "lost")
    assert took(lambda: limiter.acquire().wait().settle()) < 2
    held.settle()
    until(lambda: turns(caplog, server) == ["lost"])
    time.sleep(2.5)
    server.start()
    until(lambda: state(limiter) == "ok")
    until(lambda: turns(caplog, server) == ["lost", "back"])
    assert (remaining(limiter), limiter.status()["in_flight"]) == (98, 0)
    assert "1 calls were granted without it" in caplog.text
    assert f"redis://127.0.0.1:{server.port}/0" in caplog.text
    assert "s3cret-pa55" not in caplog.text


def test_open_grants_everything_and_closed_says_why_not(servers):
    server = servers.server()
    kinds = {
        kind: rk.RateLimiter(rk.Quota(rpd=3), name=kind, store=f"{server.url}?prefix={kind}", store_lost=kind)
        for kind in ("open", "closed")
    }
    held = kinds["closed"].try_acquire()
    server.stop()
    until(lambda: all(state(limiter) == "lost" for limiter in kinds.values()))
    assert granted(kinds["open"], 20) == 20
    for act in (kinds["closed"].try_acquire, lambda: kinds["closed"].acquire().wait()):
        with pytest.raises(rk.StoreError, match=r"nothing answers there|connection was closed"):
            act()
    held.settle()
    server.start()
    until(lambda: all(state(limiter) == "ok" for limiter in kinds.values()))
    assert remaining(kinds["closed"]) == 2
    assert kinds["closed"].try_acquire()


# --- the line ---------------------------------------------------------------------------------------------


@pytest.fixture
def line(servers):
    """A server, a line to it, and a limiter at its other end."""
    server = servers.server()
    wire = servers.wire(server)
    limiter = rk.RateLimiter(rk.Quota(rpd=1_000, concurrency=50), store=wire.url(server))
    limiter.acquire().wait().settle()
    return server, wire, limiter


def test_a_slow_server_is_used_and_one_that_takes_a_second_is_done_without(line, caplog):
    _, wire, limiter = line
    wire.delay = 0.2
    for _ in range(5):
        assert took(lambda: limiter.acquire().wait().settle()) < 1.5
    assert state(limiter) == "ok"
    wire.delay = 1.0
    spent = [took(lambda: limiter.acquire().wait().settle()) for _ in range(20)]
    assert state(limiter) == "lost"
    assert max(spent) < 1.5
    wire.delay = 0.0
    until(lambda: state(limiter) == "ok")
    assert limiter.status()["in_flight"] == 0
    # What it has heard and not answered in time is charged, and was done without it once more.
    assert 972 <= remaining(limiter) <= 974


@pytest.mark.parametrize("after", [0, 1, 10])
def test_a_connection_that_is_reset_in_mid_reply_costs_at_most_one_charge(line, after):
    _, wire, limiter = line
    wire.reset_in_next_answer(after)
    assert took(lambda: limiter.acquire().wait().settle()) < 1.5
    until(lambda: state(limiter) == "ok")
    assert limiter.status()["in_flight"] == 0
    # What the server has done and could not say is charged; what was done without it is too.
    assert remaining(limiter) in (997, 998)


def test_a_line_that_swallows_everything_holds_nobody_up_for_long(line):
    _, wire, limiter = line
    held = limiter.try_acquire()
    wire.is_dead = True
    spent = [took(lambda: limiter.acquire().wait().settle()) for _ in range(20)]
    assert max(spent) < 1.5
    assert state(limiter) == "lost"
    wire.is_dead = False
    until(lambda: state(limiter) == "ok")
    assert limiter.status()["in_flight"] == 1
    held.settle()
    # What was swallowed arrives late, and may have been heard.
    assert limiter.status()["in_flight"] == 0
    assert 975 <= remaining(limiter) <= 978


# --- what the server forgets and refuses ------------------------------------------------------------------


def test_a_server_that_forgets_its_scripts_is_told_them_again_unnoticed(line):
    server, _, limiter = line
    for _ in range(5):
        server.forget_scripts()
        limiter.acquire().wait().settle()
    assert limiter.status()["store"]["losses"] == 0
    assert remaining(limiter) == 994


def test_a_server_that_forgets_everything_is_told_what_is_held_and_gives_no_second_quota(servers):
    """What others have taken since this process last heard of them, in two and a half seconds at most, may be granted again."""
    server = servers.server()
    limiter = rk.RateLimiter(rk.Quota(rpd=300, concurrency=8), store=server.url)
    reading, writing = os.pipe()

    def work():
        for _ in range(97):
            limiter.acquire().wait().settle()
        held = [limiter.try_acquire() for _ in range(3)]
        os.write(writing, b"r")
        until(lambda: limiter.status()["limits"][0]["remaining"] == 0)
        del held

    children = [forked(work) for _ in range(2)]
    until(lambda: limiter.status()["in_flight"] == 6)
    assert os.read(reading, 1) + os.read(reading, 1) == b"rr"
    time.sleep(3)  # each hears of what the others took
    server.forget_all()
    time.sleep(3)  # each says that it is there
    assert limiter.status()["in_flight"] == 6
    assert remaining(limiter) == 100
    held = [limiter.try_acquire() for _ in range(3)]
    assert held[1]
    assert held[2] is None
    for lease in held[:2]:
        lease.settle()
    for _ in range(98):
        limiter.acquire().wait().settle()
    assert limiter.try_acquire() is None
    assert [code_of(child) for child in children] == [0, 0]


def test_keys_that_are_evicted_are_made_again_from_what_is_known(servers):
    server = servers.server()
    limiter = rk.RateLimiter(rk.Quota(rpd=100, concurrency=10), store=server.url)
    held = [limiter.try_acquire() for _ in range(3)]
    keys = server.keys()
    for key in keys:
        server.command("DEL", key)
        held.append(limiter.try_acquire())
    assert all(held)
    assert len(keys) == 2
    assert limiter.status()["in_flight"] == 5
    assert 93 <= remaining(limiter) <= 95
    assert limiter.status()["store"]["losses"] == 0


def test_memory_that_runs_out_fails_no_call_and_gives_each_process_its_share_once(servers, caplog):
    caplog.set_level(logging.INFO, "ratekeeper")
    server = servers.server()
    limiter = rk.RateLimiter(rk.Quota(rpd=100), store=server.url)
    limiter.try_acquire().settle()
    server.configure("maxmemory", "1kb")
    began, count = time.monotonic(), 0
    while time.monotonic() < began + 3:  # it is tried again each second, and refuses
        count += limiter.try_acquire() is not None
        time.sleep(0.005)
    assert 97 <= count <= 99
    assert state(limiter) == "lost"
    server.configure("maxmemory", "0")
    until(lambda: state(limiter) == "ok")
    until(lambda: turns(caplog, server) == ["lost", "back"])
    assert "raise maxmemory" in caplog.text
    assert 0 <= remaining(limiter) <= 2


def test_a_password_that_changes_is_a_loss_until_it_is_changed_back(servers, caplog):
    caplog.set_level(logging.INFO, "ratekeeper")
    server = servers.server(password="first-s3cret")
    wire = servers.wire(server)
    limiter = rk.RateLimiter(rk.Quota(rpd=100), store=wire.url(server))
    limiter.try_acquire().settle()
    server.configure("requirepass", "second-s3cret")
    server.password = "second-s3cret"
    wire.reset()
    until(lambda: state(limiter) == "lost")
    assert granted(limiter, 5) == 5
    server.configure("requirepass", "first-s3cret")
    server.password = "first-s3cret"
    until(lambda: state(limiter) == "ok")
    until(lambda: turns(caplog, wire) == ["lost", "back"])
    assert remaining(limiter) == 94
    assert "s3cret" not in caplog.text


@pytest.mark.skipif(not IS_LONG, reason="takes long (RATEKEEPER_LONG_TESTS)")
def test_a_process_that_is_stopped_for_long_has_lost_its_leases(servers):
    server = servers.server()
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), store=server.url)
    reading, writing = os.pipe()

    def work():
        lease = limiter.try_acquire()
        os.write(writing, b"held")
        time.sleep(0.5)  # it is stopped in here, and goes on when it is late
        lease.settle()
        limiter.status()

    child = forked(work)
    assert os.read(reading, 4) == b"held"
    os.kill(child, signal.SIGSTOP)
    with limiter.acquire(timeout=14):
        os.kill(child, signal.SIGCONT)
        assert code_of(child) == 0
        assert limiter.status()["in_flight"] == 1
