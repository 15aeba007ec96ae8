"""The guard itself: nothing leaves the machine unseen, and no test is left out unseen. Every environment runs this."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from . import guard

FRAMEWORKS = Path(__file__).parents[1]
PYTHON_PATH = os.pathsep.join(path for path in sys.path if path)


@pytest.fixture
def refused():
    """What the guard wrote down; forgotten at the end, because these tests mean it."""
    yield guard.refused
    guard.refused.clear()


def connect(address, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.connect(address)


def connect_ex(address):
    with socket.socket() as client:
        client.connect_ex(address)


def send_to(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"metrics", address)


WAYS = {
    "connect": lambda: connect(("192.0.2.1", 443)),
    "connect, IPv6": lambda: connect(("2001:db8::1", 443), socket.AF_INET6),
    "connect, UDP": lambda: connect(("192.0.2.1", 53), kind=socket.SOCK_DGRAM),
    "connect_ex": lambda: connect_ex(("192.0.2.1", 443)),
    "sendto": lambda: send_to(("192.0.2.1", 8125)),
    "create_connection": lambda: socket.create_connection(("telemetry.example", 443)),
    "getaddrinfo": lambda: socket.getaddrinfo("telemetry.example", 443),
    "gethostbyname": lambda: socket.gethostbyname("telemetry.example"),
    "asyncio": lambda: asyncio.run(asyncio.open_connection("telemetry.example", 443)),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_off_the_machine_and_the_host_is_named(way, refused):
    with pytest.raises(OSError, match=r"tried to reach (192\.0\.2\.1|2001:db8::1|telemetry\.example)$"):
        WAYS[way]()
    assert len(refused) == 1


def test_a_host_is_remembered_where_a_library_swallows_the_error_in_a_thread(refused):
    def report():
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen("https://telemetry.example/v1/traces", timeout=5)

    thread = threading.Thread(target=report)
    thread.start()
    thread.join()
    assert refused == ["telemetry.example"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_loopback_stays_open(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        connect((host, server.getsockname()[1]), family)


def test_a_child_process_is_guarded_too():
    code = "import socket; socket.create_connection(('telemetry.example', 443))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "OffTheMachine: a test tried to reach telemetry.example" in done.stderr


def session(tmp_path, environment=(), **modules):
    """A pytest session of its own under the conftest of all framework tests."""
    folder = tmp_path / "tests" / "frameworks"
    shutil.copytree(FRAMEWORKS / "offline", folder / "offline", ignore=shutil.ignore_patterns("test_*"))
    shutil.copy(FRAMEWORKS / "conftest.py", folder)
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\naddopts = '--import-mode=importlib'\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", folder],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH, **dict(environment)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ENVIRONMENT = """
import os

def test_it():
    assert "OPENAI_API_KEY" not in os.environ
    assert "https_proxy" not in os.environ
    assert os.environ["HF_HUB_OFFLINE"] == "1"
"""


def test_keys_and_addresses_of_the_machine_are_gone_and_downloads_are_off(tmp_path):
    the_machines = {"OPENAI_API_KEY": "sk-x", "https_proxy": "http://proxy.example", "HF_HUB_OFFLINE": "0"}
    done = session(tmp_path, the_machines, test_it=ENVIRONMENT)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


FETCH = """
import contextlib, socket
def fetch():
    with contextlib.suppress(OSError):
        socket.create_connection(("prices.example", 443))
"""


def test_a_session_is_red_for_what_a_module_fetches_when_it_is_imported(tmp_path):
    done = session(tmp_path, test_it=f"{FETCH}\nfetch()\ndef test_it():\n    pass\n")
    assert (done.returncode, "1 passed" in done.stdout) == (1, True), done.stdout
    assert "outside of any test, somebody tried to reach prices.example" in done.stdout


def test_a_test_fails_for_what_it_fetches_and_does_not_mind(tmp_path):
    done = session(tmp_path, test_it=f"{FETCH}\ndef test_it():\n    fetch()\n")
    assert done.returncode == 1
    assert "AssertionError: tried to reach prices.example" in done.stdout


LEFT_OUT = {
    "test_skip": "import pytest\ndef test_it():\n    pytest.skip('not here')\n",
    "test_skipif": "import pytest\n@pytest.mark.skipif(True, reason='no')\ndef test_it():\n    pass\n",
    "test_import": "import pytest\nnothing = pytest.importorskip('no_such_package')\n",
    "test_done": "def test_it():\n    pass\n",
}


def test_a_session_is_red_for_every_test_that_is_left_out(tmp_path):
    done = session(tmp_path, **LEFT_OUT)
    assert (done.returncode, "1 passed" in done.stdout) == (1, True), done.stdout
    told = {line.split("/")[-1] for line in done.stdout.splitlines() if line.startswith("left out: ")}
    assert told == {"test_skip.py::test_it", "test_skipif.py::test_it", "test_import.py"}
