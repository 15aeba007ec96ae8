"""README and docs: every Python block runs, prints what it says it prints, and every link leads somewhere.

The blocks of one page run in order, in one namespace, in a process of their own whose OpenAI and Anthropic
are a fake provider. A block that says what it prints (in comments that start with `# >`) is held to it.
Whatever is not marked as `python` is not run.
"""

from __future__ import annotations

import inspect
import os
import re
from dataclasses import fields
from typing import get_args

import pytest
from pages import ELSEWHERE, PAGES, ROOT, RUN_BY, blocks_of, promised, what_differs

from ratekeeper import Keeper, config
from ratekeeper.testing import FakeProvider

CONFIGURATION = ROOT / "docs" / "configuration.md"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def provider():
    with FakeProvider() as running:
        yield running


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name
)
def test_every_python_block_runs_and_prints_what_it_says(page, provider, tmp_path):
    assert what_differs(page, provider, tmp_path) == ""


@pytest.mark.parametrize(("folder", "page"), RUN_BY.items())
def test_every_page_that_is_not_run_here_is_run_in_its_folder(folder, page):
    tests = (ROOT / "tests" / "frameworks" / folder).glob("test_*.py")
    assert any(page in test.read_text(encoding="utf-8") for test in tests)
    assert page in {page.name for page in PAGES}


@every_page
def test_every_page_shows_code_that_runs_and_what_it_prints(page):
    blocks = blocks_of(page, "python")
    assert any(promised(block) for block in blocks)
    assert all("#>" not in block.text for block in blocks), (
        "ruff format writes `# >`, and so the tests read it"
    )


@every_page
def test_no_block_is_left_open(page):
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(blocks_of(page))


def anchors_of(page):
    """The fragments that GitHub makes of a page's headings."""
    text = page.read_text(encoding="utf-8")
    for block in blocks_of(page):
        text = text.replace(block.text, "")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@every_page
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(linked), f"{page.name}: {target}"


@every_page
def test_every_toml_block_is_a_valid_configuration(page, tmp_path):
    for block in blocks_of(page, "toml"):
        file = tmp_path / "ratekeeper.toml"
        file.write_text(block.text, encoding="utf-8")
        Keeper(**config.load(file, environ={}))


# --- what the reference pages say is what there is --------------------------------------------------------


def test_the_configuration_page_names_every_setting():
    named = set(re.findall(r"`([a-z_]+)`", CONFIGURATION.read_text(encoding="utf-8")))
    limit_keys = {"dimension", "amount", "per", "burst"}
    [example] = blocks_of(CONFIGURATION, "toml")
    assert {*config.Settings.__annotations__, *config.RATES, "concurrency", "limits"} <= named
    assert limit_keys <= set(re.findall(r"\w+", example.text))


def test_the_configuration_page_shows_the_defaults(tmp_path):
    file = tmp_path / "ratekeeper.toml"
    file.write_text(blocks_of(CONFIGURATION, "toml")[0].text, encoding="utf-8")
    shown = config.load(file, environ={})
    defaults = inspect.signature(Keeper).parameters
    for name in ("headroom", "lease_ttl", "slow_wait"):
        assert shown[name] == defaults[name].default


def test_every_variable_of_the_configuration_page_is_read():
    text = CONFIGURATION.read_text(encoding="utf-8")
    # The file that is read, and a switch of the process, are no settings of a keeper.
    named = set(re.findall(r"`(RATEKEEPER_[A-Z_]+)`", text)) - {"RATEKEEPER_CONFIG", "RATEKEEPER_SIGTERM"}
    assert len(named) >= 8
    for name in named:
        text = {"RATEKEEPER_STORE_LOST": "open"}.get(name, "7")
        loaded = config.load(environ={name: text, "RATEKEEPER_CONFIG": os.devnull})
        [value] = loaded.values()
        assert text in repr(value), name


def test_the_testing_page_names_settings_that_there_are():
    from ratekeeper.testing.settings import FaultKind, Settings

    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    cells = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)", cell)}
    assert len(named) > 15
    assert named <= {field.name for field in fields(Settings)}
    [faults] = (row for row in page.splitlines() if row.startswith("| `faults"))
    kinds = set(re.findall(r"`(\w+)`", faults))
    assert kinds == set(get_args(FaultKind))
