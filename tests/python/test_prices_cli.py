"""The command `ratekeeper prices`."""

from __future__ import annotations

import pytest

testing = pytest.importorskip("click.testing")


def run(*arguments):
    from ratekeeper.cli.group import group

    return testing.CliRunner().invoke(group, ["prices", *arguments])


def test_it_shows_what_would_be_charged_and_why():
    done = run("azure/gpt-4o-mini-2024-07-18", "--at", "2026-11-21")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "azure/gpt-4o-mini-2024-07-18 is charged as openai/gpt-4o-mini"
    assert lines[1].startswith("source: genai-prices ")
    assert "answers have at most 16,384 tokens" in lines
    [head] = (line.split() for line in lines if line.startswith("USD per million tokens"))
    columns = dict(zip(head[4:], range(len(head)), strict=False))
    [rates] = (line.split() for line in lines if line.startswith("input "))
    assert rates[1 + columns["standard"]] == "0.15"
    assert rates[1 + columns["priority"]] == "0.25"


def test_it_shows_sizes_hours_and_dates():
    done = run("claude-sonnet-4-6", "--at", "2026-03-12")
    assert "above 200,000 input tokens" in done.output
    assert "in force since 2026-03-13" in run("claude-sonnet-4-6", "--at", "2026-11-21").output
    assert "in force from 01:00 to 04:00 UTC" in run("deepseek-v4-pro", "--at", "2026-11-21T02:00:00").output


def test_it_reckons_a_call():
    done = run("gpt-4o-mini", "--input", "1000", "--output", "500", "--cached", "200", "--tier", "scale")
    assert "200 read from the cache at 0.075 = 0.000015 USD" in done.output
    assert "0.000435 USD; at the very most 0.000750 USD" in done.output
    assert "'scale' has no rates of its own" in done.output
    embedding = run("text-embedding-3-small", "--output", "5").output
    assert "some of these tokens have no price" in embedding


def test_a_model_that_nobody_knows_is_an_error_with_names_that_are_near():
    done = run("gpt-4o-mni")
    assert done.exit_code == 1
    assert "nobody knows a price of 'gpt-4o-mni'; near it are" in done.output
    assert "gpt-4o-mini" in done.output


def test_own_prices_come_from_a_file_and_what_is_wrong_is_said(tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text("[mine]\ninput = 1\noutput = 2\nrequest = 0.5\n")
    done = run("mine", "--prices", str(file), "--input", "1000000")
    assert "source: prices.toml, " in done.output
    assert "1.5 USD; at the very most 1.5" in done.output
    file.write_text("[mine]\ninput = -1\noutput = 2\n")
    done = run("mine", "--prices", str(file))
    assert (done.exit_code, "prices.mine.input: expected dollars" in done.output) == (1, True)
    assert run("gpt-4o", "--input", "1", "--cached", "2").exit_code == 1
