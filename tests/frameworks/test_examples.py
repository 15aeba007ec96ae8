"""The examples as a user runs them: unchanged and in a process of their own, but against a fake provider."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ratekeeper.testing import Reply

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Each example → how many calls it makes, the most at once, and what it prints.
EXPECTED = {
    "langchain_gather.py": (40, 16, "40 answers"),
    "tenants.py": (20, 2, "shop: 4 calls"),
    "kickoff_guard.py": (10, 2, "research, writer: Usage("),
}


def run(example, provider):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OPENAI_API_KEY": "sk-test-example",
        "OPENAI_BASE_URL": provider.openai_url,
    }
    return subprocess.run(
        [sys.executable, EXAMPLES / example],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_example_is_tried():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("example", EXPECTED)
def test_an_example_makes_its_calls_inside_its_limits_and_says_so(example, provider):
    calls, at_once, said = EXPECTED[example]
    done = run(example, provider)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "sk-test-example" not in done.stdout + done.stderr
    report = provider.report()
    assert report.statuses == {200: calls}
    assert report.peak_concurrency <= at_once


@pytest.mark.parametrize("example", EXPECTED)
def test_an_example_is_short_enough_to_be_read_at_once(example):
    assert len((EXAMPLES / example).read_text().splitlines()) < 40


def test_the_tenant_with_few_calls_is_not_held_up_by_the_flood(provider):
    provider.script(Reply(latency=0.1, times=None))
    lines = dict(line.split(": ", 1) for line in run("tenants.py", provider).stdout.splitlines())
    longest = {tenant: float(text.rsplit(" ", 2)[1]) for tenant, text in lines.items()}
    assert longest["shop"] < longest["batch"]
