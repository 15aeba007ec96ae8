"""The page and the example on ag2, as a reader runs them, and what a call costs."""

from __future__ import annotations

import gc

import pytest
from ag2 import Agent
from ag2.config import OpenAIConfig
from pages import ROOT, run_example, what_differs

from ..measuring import share
from .overhead import added_by_wrapping

PAGE = ROOT / "docs" / "ag2.md"


def test_every_block_of_the_page_runs_and_prints_what_it_says(provider, tmp_path):
    assert what_differs(PAGE, provider, tmp_path) == ""


@pytest.fixture
def key(provider, monkeypatch):
    """Where a program without arguments finds key and address."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)


@pytest.mark.usefixtures("key")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # ag2 leaves the client that it has made open
def test_what_the_readme_says_to_write_puts_a_real_call_under_the_keeper(books, run):
    keeper = books.keeper()
    made = keeper.wrap(OpenAIConfig(model="gpt-4o-mini"))
    assert run(Agent("poet", config=made).ask("Hello")).body
    books.agree_in_tokens(1)
    gc.collect()


def test_the_example_compacts_what_it_remembers_inside_its_quota(provider):
    said = run_example("ag2_agent.py", provider)
    assert said.count("?") == 4
    assert said.endswith("0 in flight\n")
    # Four answers, and what compaction asked.
    report = provider.report()
    assert report.answered == report.requests > 4


def test_a_wrap_adds_a_fifth_to_a_call_that_is_answered_at_once():
    """With room for a busy machine: three fifths."""
    assert share(added_by_wrapping) <= 0.6
