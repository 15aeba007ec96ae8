"""The examples as a user runs them: unchanged and in a process of their own, but against a fake provider."""

from __future__ import annotations

import pytest
from pages import EXAMPLES, EXAMPLES_RUN_BY, ROOT, run_example

from ratekeeper.testing import Reply, ToolCall

#: Each example → how many calls it makes, the most at once, and what it prints.
EXPECTED = {
    "langchain_gather.py": (40, 16, "40 answers"),
    "tenants.py": (20, 2, "shop: 4 calls"),
    "kickoff_guard.py": (10, 2, "research, writer: Usage("),
    "runaway_agent.py": (1, 1, "research: 1 call, "),
}
FILES = sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_every_example_is_tried():
    assert sorted([*EXPECTED, *EXAMPLES_RUN_BY.values()]) == FILES
    for folder, example in EXAMPLES_RUN_BY.items():
        tests = (ROOT / "tests" / "frameworks" / folder).glob("test_*.py")
        assert any(f'"{example}"' in test.read_text(encoding="utf-8") for test in tests)


@pytest.mark.parametrize("example", EXPECTED)
def test_an_example_makes_its_calls_inside_its_limits_and_says_so(example, provider):
    calls, at_once, said = EXPECTED[example]
    assert said in run_example(example, provider)
    report = provider.report()
    assert report.statuses == {200: calls}
    assert report.peak_concurrency <= at_once


@pytest.mark.parametrize("example", FILES)
def test_an_example_is_short_enough_to_be_read_at_once(example):
    assert len((EXAMPLES / example).read_text().splitlines()) < 40


def test_the_tenant_with_few_calls_is_not_held_up_by_the_flood(provider):
    provider.script(Reply(latency=0.1, times=None))
    lines = dict(line.split(": ", 1) for line in run_example("tenants.py", provider).splitlines())
    longest = {tenant: float(text.rsplit(" ", 2)[1]) for tenant, text in lines.items()}
    assert longest["shop"] < longest["batch"]


def test_the_runaway_agent_is_stopped_at_its_budget(provider):
    provider.script(Reply(tool_calls=[ToolCall(name="search", arguments={"query": "tides"})], times=None))
    said = run_example("runaway_agent.py", provider)
    assert "stopped: the budget of 0.01 USD, 12 calls, 300 s is used up: 12 of 12 calls" in said
    assert "research: 12 calls" in said
    assert "researcher" in said
    assert provider.report().requests == 12
