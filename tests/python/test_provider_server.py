"""The fake provider's life: thread and process, start and stop, control while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from http.client import HTTPConnection

import pytest

from ratekeeper.testing import FakeProvider, FakeProviderError, Fault, Reply

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


def post(provider, path="/v1/chat/completions", key="sk-one", **more):
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **more}
    connection = HTTPConnection(provider.host, int(provider.url.rpartition(":")[2]), timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {"authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def run(*arguments, **more):
    """A Python of its own, which imports what this one does."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


@pytest.fixture(params=["thread", "process"])
def process(request):
    return request.param == "process"


def test_it_serves_and_reports_alike_from_a_thread_and_a_process(process):
    with FakeProvider(rpm=1, process=process) as provider:
        statuses = [post(provider)[0] for _ in range(2)]
        report = provider.report()
    assert statuses == [200, 429]
    assert report.statuses == {200: 1, 429: 1}
    assert (report.answered, report.refused, report.in_flight) == (1, 1, 0)
    assert [entry.outcome for entry in report.timeline] == ["answered", "refused"]
    assert report.started <= report.timeline[0].at <= report.timeline[1].ended <= report.now


def test_its_times_are_those_of_the_asking_process(process):
    before = time.monotonic()
    with FakeProvider(process=process) as provider:
        post(provider)
        report = provider.report()
    assert before <= report.started <= report.timeline[0].at <= time.monotonic()


def test_nothing_is_left_after_the_stop(process):
    threads = set(threading.enumerate())
    with FakeProvider(process=process) as provider:
        url = provider.url
        port = int(url.rpartition(":")[2])
    assert set(threading.enumerate()) == threads
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/_report")
    with pytest.raises(FakeProviderError, match="does not run"):
        provider.report()
    provider.stop()


def test_it_can_be_started_again_with_an_empty_record(process):
    provider = FakeProvider(process=process)
    for _ in range(2):
        with provider:
            post(provider)
            assert provider.report().requests == 1
    with provider, pytest.raises(FakeProviderError, match="already"):
        provider.start()


def test_stopping_cuts_off_what_still_runs_at_once_and_quietly(process, caplog):
    failures = []

    def hang(provider):
        try:
            post(provider)
        except OSError as error:
            failures.append(error)

    with FakeProvider(latency=600, process=process) as provider:
        thread = threading.Thread(target=hang, args=(provider,))
        thread.start()
        while not provider.report().in_flight:
            time.sleep(0.01)
        began = time.monotonic()
    thread.join(20)
    assert time.monotonic() - began < 15
    assert len(failures) == 1
    assert not caplog.records


def test_a_port_that_is_taken_is_an_error_at_the_start(process):
    with FakeProvider() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(FakeProviderError, match=r"cannot listen|did not start"):
            FakeProvider(port=port, process=process).start()


def test_a_process_ends_with_its_parent_even_if_that_is_killed():
    script = """
        import os, signal
        from ratekeeper.testing import FakeProvider
        provider = FakeProvider.spawn().start()
        print(provider.url, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run("-c", textwrap.dedent(script))
    port = int(done.stdout.strip().rpartition(":")[2])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/_report")
        except ConnectionRefusedError:
            return
        finally:
            connection.close()
        time.sleep(0.05)
    pytest.fail("the child still answers")


def test_limits_faults_and_replies_change_while_it_runs_and_a_reset_undoes_them(process):
    with FakeProvider(rpm=100, process=process) as provider:
        provider.set_limits(rpm=0)
        assert post(provider)[0] == 429
        provider.reset()
        provider.set_faults(Fault(kind="server_error"))
        provider.script(Reply(text="scripted", times=None))
        assert post(provider)[0] == 500
        provider.set_faults()
        assert post(provider)[1]["choices"][0]["message"]["content"] == "scripted"
        provider.reset()
        assert post(provider)[1]["choices"][0]["message"]["content"] != "scripted"
        assert provider.report().requests == 1


def test_a_quota_of_n_per_second_is_kept_by_its_windows_length():
    with FakeProvider(rpm=5, window=0.5, algorithm="fixed_window") as provider:
        statuses = [post(provider)[0] for _ in range(5)]
        time.sleep(0.55)
        statuses.append(post(provider)[0])
    assert statuses == [200] * 6


def test_the_timeline_keeps_the_youngest_and_may_be_left_out():
    with FakeProvider(timeline_limit=2) as provider:
        for key in ("a", "b", "c"):
            post(provider, key=key)
        assert len(provider.report().timeline) == 2
        assert provider.report(timeline=False).timeline == []
        assert provider.report().requests == 3


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b'{"model": 5}', b'{"messages": "x"}', b"\xff\xfe", b'{"messages": [5]}']
)
def test_a_body_that_makes_no_sense_is_a_400_with_a_reason(raw):
    with FakeProvider() as provider:
        connection = HTTPConnection(provider.host, int(provider.url.rpartition(":")[2]), timeout=30)
        connection.request("POST", "/v1/chat/completions", raw, {"authorization": "Bearer k"})
        response = connection.getresponse()
        assert response.status == 400
        assert json.loads(response.read())["error"]["message"]
        connection.close()


def test_a_wrong_order_over_http_is_answered_with_what_was_expected():
    with FakeProvider() as provider:
        connection = HTTPConnection(provider.host, int(provider.url.rpartition(":")[2]), timeout=30)
        connection.request("POST", "/_faults", json.dumps([{"kind": "fire"}]))
        response = connection.getresponse()
        assert response.status == 400
        assert "one of" in json.loads(response.read())["error"]
        connection.close()


def test_a_prompt_of_ten_megabytes_is_counted():
    with FakeProvider() as provider:
        status, answer = post(provider, messages=[{"role": "user", "content": "x" * 10_000_000}])
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == 2_500_006


def test_importing_the_testing_package_imports_no_server():
    code = """
        import sys
        from ratekeeper.testing import FakeProvider
        FakeProvider()
        print("starlette" in sys.modules or "uvicorn" in sys.modules)
    """
    done = run("-c", textwrap.dedent(code))
    assert done.stdout.strip() == "False"


def test_the_pytest_fixture_is_set_up_by_its_marker(tmp_path):
    (tmp_path / "test_users.py").write_text(
        textwrap.dedent(
            """
            import pytest
            from urllib.request import urlopen

            @pytest.mark.fake_provider(rpm=5, window=1.0)
            def test_marked(fake_provider):
                assert fake_provider.rpm == 5
                assert urlopen(fake_provider.url + "/_report").status == 200

            def test_plain(fake_provider):
                assert fake_provider.rpm is None
            """
        )
    )
    arguments = ["-p", "ratekeeper.testing.pytest_plugin", "--strict-markers", "-q", str(tmp_path)]
    done = run("-m", "pytest", *arguments, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
