"""The servers and lines of the tests do what their tests rely on."""

import socket
import threading
import time

import pytest
import resp
import servers as real


@pytest.mark.parametrize("kind", real.KINDS)
def test_a_server_is_empty_and_counts_its_calls(servers, kind):
    # One of its own: a limiter that another test has left may still tell the standing one of its end.
    server = servers.server(kind)
    assert server.keys() == []
    assert server.calls("evalsha") == 0
    sha = server.command("SCRIPT", "LOAD", "return {1, 'two', {ARGV[1]}}")
    assert server.command("EVALSHA", sha, 0, b"\xff") == [1, "two", [b"\xff"]]
    assert server.calls("evalsha") == 1
    server.forget_scripts()
    with pytest.raises(resp.ServerError, match="NOSCRIPT"):
        server.command("EVALSHA", sha, 0)
    assert server.memory() > 0


@pytest.mark.parametrize("kind", real.KINDS)
def test_a_server_keeps_its_port_and_data_over_a_stop_and_forgets_them_when_killed(servers, kind):
    server = servers.server(kind)
    server.command("SET", "key", "1")
    for _ in range(2):
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            server.command("PING")
        server.start()
        assert server.command("GET", "key") == "1"
    server.command("SET", "key", "2")
    server.kill()
    server.start()
    assert server.command("GET", "key") == "1"
    assert server.command("GET", "other") is None


def test_a_server_with_a_password_and_little_memory_refuses_who_has_none_and_what_is_too_much(servers):
    server = servers.server(password="secret", maxmemory="3mb", maxmemory_policy="noeviction")
    assert server.command("PING") == "PONG"
    assert (server.url, server.url_with("wrong")) == (
        f"redis://:secret@127.0.0.1:{server.port}/0",
        f"redis://:wrong@127.0.0.1:{server.port}/0",
    )
    server.password = None
    with pytest.raises(resp.ServerError, match="NOAUTH"):
        server.command("DBSIZE")
    server.password = "secret"
    fill = ("EVAL", "for key = 1, 100 do redis.call('SET', key, ARGV[1]) end", 0, "x" * 50_000)
    server.command(*fill)  # looked at before a script, not within it
    with pytest.raises(resp.ServerError, match="OOM"):
        server.command(*fill)


def test_a_suspended_server_says_nothing_and_goes_on_when_it_is_resumed(servers):
    server = servers.server()
    server.suspend()
    with pytest.raises(TimeoutError):
        server.command("PING", timeout=0.2)
    server.resume()
    assert server.command("PING") == "PONG"


def test_a_server_hangs_up_on_its_clients(servers):
    server = servers.server()
    with resp.Connection((server.host, server.port), 10) as client:
        assert client.command("PING") == "PONG"
        assert server.hang_up() == 1
        with pytest.raises(ConnectionError):
            client.command("PING")


@pytest.mark.parametrize("kind", real.KINDS)
def test_a_replica_follows_and_can_be_promoted(servers, kind):
    server = servers.server(kind)
    server.command("SET", "key", "1")
    replica = servers.replica(server)
    assert replica.command("GET", "key") == "1"
    with pytest.raises(resp.ServerError, match="READONLY"):
        replica.command("SET", "key", "2")
    server.kill()
    replica.promote()
    assert replica.command("SET", "key", "2") == "OK"


@pytest.mark.parametrize("kind", real.KINDS)
def test_a_cluster_shares_its_keys_among_three_nodes(servers, kind):
    cluster = servers.cluster(kind)
    said = [answer_of(node, "SET", "{quota}key", "1") for node in cluster.nodes]
    moved = [answer.split() for answer in said if answer != "OK"]
    assert [answer[0] for answer in moved] == ["MOVED", "MOVED"]
    assert {answer[2] for answer in moved} <= set(cluster.addresses)


def answer_of(node, *words):
    """What it answers, be it an error."""
    try:
        return node.command(*words)
    except resp.ServerError as error:
        return str(error)


@pytest.mark.parametrize("kind", real.KINDS)
def test_a_sentinel_puts_the_replica_in_the_place_of_a_master_that_died(servers, kind):
    pair = servers.watched(kind, password="secret")
    pair.master.command("SET", "key", "1")
    assert pair.master.command("WAIT", 1, 5_000) == 1
    pair.fail_over()
    assert pair.replica.command("GET", "key") == "1"
    assert pair.replica.command("SET", "key", "2") == "OK"


@pytest.fixture
def client(servers):
    """A wire, and a client on it."""
    server = servers.server()
    wire = servers.wire(server)
    assert wire.url(server) == f"redis://127.0.0.1:{wire.port}/0"
    with resp.Connection(("127.0.0.1", wire.port), 5) as connection:
        yield server, wire, connection


def took(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_a_wire_passes_everything_on_and_can_be_slow(client):
    _, wire, connection = client
    assert connection.command("ECHO", "x" * 1_000_000) == "x" * 1_000_000
    wire.delay = 0.3
    assert 0.29 <= took(lambda: connection.command("PING")) < 2

    def ten_at_once():
        for _ in range(10):
            connection.send("PING")
        assert [connection.answer() for _ in range(10)] == ["PONG"] * 10

    assert 0.29 <= took(ten_at_once) < 2


def test_a_wire_resets_in_the_midst_of_an_answer_and_works_again(client):
    server, wire, connection = client
    wire.reset_in_next_answer(after=3)
    with pytest.raises(ConnectionError):
        connection.command("ECHO", "x" * 10_000)
    wire.reset_in_next_answer(after=0)
    with resp.Connection(("127.0.0.1", wire.port), 5) as again:
        with pytest.raises(ConnectionError):
            again.command("INCR", "key")
        assert server.command("GET", "key") == "1"
    with resp.Connection(("127.0.0.1", wire.port), 5) as again:
        assert again.command("INCR", "key") == 2
        wire.reset()
        with pytest.raises(ConnectionError):
            again.command("PING")
    assert wire.connections == 3


def test_a_dead_wire_swallows_what_is_on_it_until_it_lives_again(servers):
    server = servers.server()
    wire = servers.wire(server)
    with resp.Connection(("127.0.0.1", wire.port), 0.3) as connection:
        assert connection.command("PING") == "PONG"
        wire.is_dead = True
        with pytest.raises(TimeoutError):
            connection.command("SET", "key", "1")
        assert server.command("GET", "key") is None
        wire.is_dead = False
        real.until(lambda: server.command("GET", "key") == "1", "it arrives late")


def test_nobody_is_connected_nowhere(servers):
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", servers.nowhere().port), 0.5)


def test_threads_of_a_wire_end_with_it(servers):
    server = servers.server()
    before = threading.active_count()
    with servers.wire(server) as wire, resp.Connection(("127.0.0.1", wire.port), 5) as connection:
        assert connection.command("PING") == "PONG"
        assert threading.active_count() > before
    real.until(lambda: threading.active_count() == before, "the threads are gone")
