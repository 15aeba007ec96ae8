"""The page and the example on HTTP clients, as a reader runs them."""

from pages import ROOT, run_example, what_differs


def test_every_block_of_the_page_runs_and_prints_what_it_says(provider, tmp_path):
    assert what_differs(ROOT / "docs" / "http.md", provider, tmp_path) == ""


def test_the_example_makes_its_calls_inside_its_limits(provider):
    assert "1 scope, 6 questions" in run_example("seventh_framework.py", provider)
    report = provider.report()
    assert report.statuses == {200: 6}
    assert report.peak_concurrency <= 2
