"""The page and the example on agentchat, as a reader runs them, and what a call costs."""

from __future__ import annotations

from pages import ROOT, run_example, what_differs

from ratekeeper.testing import Reply

from ..measuring import share
from .overhead import added_by_wrapping

PAGE = ROOT / "docs" / "agentchat.md"


def test_every_block_of_the_page_runs_and_prints_what_it_says(provider, tmp_path):
    assert what_differs(PAGE, provider, tmp_path) == ""


def test_the_example_runs_eight_teams_inside_a_limit_of_two(provider):
    provider.script(Reply(latency=0.05, times=None))
    said = run_example("agentchat_team.py", provider)
    assert said.splitlines() == ["critic: 96 tokens", "poet: 96 tokens"]
    report = provider.report()
    assert (report.statuses, report.peak_concurrency) == ({200: 16}, 2)


def test_a_wrap_adds_a_fifth_to_a_call_that_is_answered_at_once():
    """With room for a busy machine: three fifths."""
    assert share(added_by_wrapping) <= 0.6
