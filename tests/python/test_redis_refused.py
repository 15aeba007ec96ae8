"""Redis servers that cannot be used: said when the keeper is made, soon, with what to do, and never with the password."""

import logging
import socket
import threading
import time
import traceback

import pytest
import servers as real

import ratekeeper as rk

SECRET = "s3cret-pa55"
#: Seconds within which it is said: a second for the connection and half a second for an answer, on a busy machine.
SOON = 3.0


def refused(url, caplog):
    """What is said of it, once it is sure that no password is in it, nor in anything else that people see."""
    caplog.set_level(logging.DEBUG)
    texts = []
    for make in (
        lambda: rk.Keeper(rk.Quota(rpm=60), store=url),
        lambda: rk.RateLimiter(rk.Quota(rpm=60), store=url),
    ):
        began = time.monotonic()
        with pytest.raises((rk.StoreError, rk.ConfigError)) as caught:
            make()
        assert time.monotonic() - began < SOON
        texts.append(str(caught.value))
        shown = "".join(
            [*traceback.format_exception(caught.value), repr(caught.value), repr(vars(caught.value))]
        )
        assert SECRET not in shown
    assert SECRET not in caplog.text
    assert texts[0] == texts[1]
    return caught.type, texts[0]


@pytest.mark.parametrize("kind", real.KINDS)
def test_a_wrong_password_is_named_and_not_shown(servers, caplog, kind):
    server = servers.server(kind, password="right")
    for url in (server.url_with(SECRET), server.url_with(None)):
        error, text = refused(url, caplog)
        assert error is rk.StoreError
        assert "the user name or the password" in text
        assert f"127.0.0.1:{server.port}" in text


def test_a_password_of_a_user_is_not_shown_where_all_is_well(servers, caplog):
    caplog.set_level(logging.DEBUG)
    server = servers.server(password=SECRET)
    keeper = rk.Keeper(rk.Quota(rpm=60), store=server.url)
    limiter = keeper.limiter("openai/prod/gpt-4o")
    limiter.acquire().wait().settle()
    for shown in (repr(keeper), repr(limiter), str(keeper.status()), str(limiter.status()), caplog.text):
        assert SECRET not in shown


def test_nobody_who_listens_and_no_such_host_are_told_apart(caplog):
    error, text = refused(f"redis://:{SECRET}@127.0.0.1:{real.free_port()}/0", caplog)
    assert (error, "nothing answers there" in text) == (rk.StoreError, True)
    error, text = refused(f"redis://:{SECRET}@no-such-host.invalid/0", caplog)
    assert error is rk.StoreError
    assert "no-such-host.invalid" in text
    assert "no host has that name" in text


def test_a_host_that_swallows_packets_is_given_up_soon(servers, caplog):
    error, text = refused(f"redis://:{SECRET}@127.0.0.1:{servers.nowhere().port}/0", caplog)
    assert error is rk.StoreError
    assert "no answer in time" in text


def test_a_server_that_accepts_and_says_nothing_is_given_up_soon(servers, caplog):
    server = servers.server()
    server.suspend()
    error, text = refused(server.url, caplog)
    assert error is rk.StoreError
    assert "no answer in time" in text


@pytest.fixture
def website():
    """The port of something that answers every line as a web server does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(4_096)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_what_is_no_redis_is_said_to_be_none(website, caplog):
    error, text = refused(f"redis://:{SECRET}@127.0.0.1:{website}/0", caplog)
    assert error is rk.StoreError
    assert "no Redis" in text


def test_a_replica_and_a_server_without_memory_are_refused(servers, caplog):
    server = servers.server()
    error, text = refused(servers.replica(server).url, caplog)
    assert error is rk.StoreError
    assert "a replica" in text
    assert "primary" in text
    full = servers.server(maxmemory="1kb")
    error, text = refused(full.url, caplog)
    assert error is rk.StoreError
    assert "maxmemory" in text


def test_a_user_who_may_not_run_scripts_is_told_what_is_needed(servers, caplog):
    server = servers.server()
    server.command(
        "ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "+get", "+set", "+ping", "+hello", "+client"
    )
    error, text = refused(f"redis://app:{SECRET}@127.0.0.1:{server.port}/0", caplog)
    assert error is rk.StoreError
    assert "evalsha" in text


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@host:port/0",
        f"redis://:{SECRET}@host/database",
        f"redis://:{SECRET}@host:6379/0?prefix=",
        f"redis://:{SECRET}@host:6379/0?prefix={{a}}",
        f"redis://:{SECRET}@host:6379/0?prefx=app",
        f"rediss+sentinel://:{SECRET}@host:26379",
        f"redis+cluster://:{SECRET}@a,b:port",
        f"redis+claster://:{SECRET}@a,b",
        f"redsi://:{SECRET}@host:6379/0",
        f"redis://:pass/{SECRET}@host:6379/0",
        f"redis:/:{SECRET}@host:6379/0",
        f"{SECRET}@host:6379/0",
        f"{SECRET}://host:6379/0",
    ],
)
def test_a_url_that_names_nothing_is_refused_without_showing_it(url, caplog):
    error, text = refused(url, caplog)
    assert error is rk.ConfigError
    assert "redis://" in text


def test_sentinels_who_do_not_know_the_service_and_clusters_that_are_none(servers, caplog):
    pair = servers.watched()
    error, text = refused(f"redis+sentinel://{pair.addresses[0]}/other", caplog)
    assert error is rk.StoreError
    assert "other" in text
    error, text = refused(f"redis+cluster://:{SECRET}@127.0.0.1:{real.free_port()}", caplog)
    assert error is rk.StoreError
    assert "cluster" in text
    error, text = refused(f"redis+cluster://127.0.0.1:{pair.master.port}", caplog)
    assert error is rk.StoreError
    assert "cluster" in text
