"""The page on SDK clients, as a reader runs it, and what a call costs."""

from pages import ROOT, what_differs

from ..measuring import share
from .overhead import added_by_wrapping


def test_every_block_of_the_page_runs_and_prints_what_it_says(provider, tmp_path):
    assert what_differs(ROOT / "docs" / "sdks.md", provider, tmp_path) == ""


def test_a_wrap_adds_a_fifth_to_a_call_that_is_answered_at_once():
    """With room for a busy machine: three fifths."""
    assert share(added_by_wrapping) <= 0.6
