"""examples/fastapi_tenants.py as a user runs it: a real server, real requests, several tenants at once."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx
import pytest
from pages import EXAMPLES, environment_of

EXAMPLE = EXAMPLES / "fastapi_tenants.py"
DAY = Decimal("0.001")


@pytest.fixture
def server(provider, eventually):
    """The address of a uvicorn of its own process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        EXAMPLE.parent,
        "--port",
        str(port),
        "fastapi_tenants:app",
    ]
    process = subprocess.Popen(
        command, env=environment_of(provider) | {"DAILY_USD": str(DAY)}, stderr=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return httpx.get(f"{address}/docs").status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert eventually(answers, bool, within=60), process.poll()
        yield address
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert "Traceback" not in said, said


def ask(server, tenant):
    return httpx.post(
        f"{server}/ask", params={"question": "Hello?"}, headers={"x-tenant": tenant}, timeout=60
    )


def test_each_tenant_has_its_day_and_none_overshoots_with_many_requests_at_once(server, provider):
    with ThreadPoolExecutor(20) as pool:
        acme = list(pool.map(lambda _: ask(server, "acme"), range(160)))
    answered = [answer for answer in acme if answer.status_code == 200]
    refused = [answer for answer in acme if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {402}
    assert "nothing was sent" in refused[0].json()["error"]
    spent = max(Decimal(answer.json()["spent_today"]) for answer in answered)
    assert DAY * 9 / 10 <= spent <= DAY
    assert provider.report().requests == len(answered)
    assert ask(server, "globex").status_code == 200


def test_a_job_in_the_background_tells_what_it_took(server, provider, eventually):
    started = httpx.post(
        f"{server}/jobs/42", params={"topic": "tides"}, headers={"x-tenant": "acme"}, timeout=60
    )
    address = server + started.json()["see"]
    job = eventually(lambda: httpx.get(address).json(), lambda job: job["text"] is not None, within=30)
    report = provider.report()
    assert job["calls"] == report.requests == 3
    pico = report.input_tokens * 150_000 + report.output_tokens * 600_000
    assert Decimal(job["usd"]) * 10**12 == pico
