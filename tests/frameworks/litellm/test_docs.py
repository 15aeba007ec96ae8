"""The page and the example on LiteLLM, as a reader runs them, and what a call costs."""

from pages import ROOT, run_example, what_differs

from ..measuring import share
from .overhead import added_by_wrapping


def test_every_block_of_the_page_runs_and_prints_what_it_says(provider, tmp_path):
    assert what_differs(ROOT / "docs" / "litellm.md", provider, tmp_path) == ""


def test_the_example_makes_its_calls_inside_its_limits(provider):
    assert "12 answers" in run_example("litellm_completion.py", provider)
    report = provider.report()
    assert report.statuses == {200: 12}
    assert report.peak_concurrency <= 6


def test_a_keeper_adds_less_than_a_tenth_to_a_call_that_is_answered_at_once():
    """With room for a busy machine: three tenths."""
    assert share(added_by_wrapping) <= 0.3
