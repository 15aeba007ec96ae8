"""The page and the example on AutoGen's classic API, as a reader runs them, and what a call costs."""

from __future__ import annotations

from pages import ROOT, run_example, what_differs

from ..measuring import share
from .overhead import added_by_wrapping

PAGE = ROOT / "docs" / "autogen.md"
#: The writer and the critic, and before each of them up to three calls that pick who speaks.
LEAST, MOST = 4, 8


def test_every_block_of_the_page_runs_and_prints_what_it_says(provider, tmp_path):
    assert what_differs(PAGE, provider, tmp_path) == ""


def test_the_example_tells_what_every_call_took_the_managers_too(provider):
    said = run_example("autogen_chat.py", provider)
    report = provider.report()
    assert LEAST <= report.requests <= MOST
    assert report.statuses == {200: report.requests}
    billed = [line for line in said.splitlines() if line.endswith(" tokens")]
    assert len(billed) == report.requests
    assert {line.split(":")[0] for line in billed} == {"writer", "critic", "speaker_selection_agent"}
    assert said.splitlines()[-1] == "3 messages; unwrapped: []"


def test_a_wrap_adds_a_fifth_to_a_call_that_is_answered_at_once():
    """With room for a busy machine: three fifths."""
    assert share(added_by_wrapping) <= 0.6
