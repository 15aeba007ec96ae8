"""README and docs: every Python block runs, prints what it says it prints, and every link leads somewhere.

The blocks of one page run in order, in one namespace, in a process of their own whose OpenAI and Anthropic
are a fake provider. A block that says what it prints (in comments that start with `# >`) is held to it.
Whatever is not marked as `python` is not run.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from ratekeeper import Keeper, config
from ratekeeper.testing import FakeProvider

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [page for page in (README, *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]
CONFIGURATION = ROOT / "docs" / "configuration.md"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

#: Runs blocks in order and tells what each one printed. Line numbers in tracebacks are those of the page.
RUNNER = """
import ast, asyncio, contextlib, io, json, sys

page, blocks = json.load(sys.stdin)
namespace = {"__name__": "__main__"}
loop = asyncio.new_event_loop()
printed = []
for line, source in blocks:
    code = compile("\\n" * line + source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        awaited = eval(code, namespace)
        if awaited is not None:
            loop.run_until_complete(awaited)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


class Block(NamedTuple):
    """A fenced block: its language, the line on which its text starts (from 0), and its text."""

    language: str
    line: int
    text: str


def blocks_of(page, language=None):
    """The fenced blocks of a page, of one language or all."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(match[1], text.count("\n", 0, match.start(2)), match[2])
        for match in re.finditer(r"^```(\S*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    return [block for block in found if language in (None, block.language)]


def promised(block):
    """The lines that a block says it prints."""
    return [line.strip()[4:] for line in block.text.splitlines() if line.strip().startswith("# > ")]


@pytest.fixture(scope="module")
def provider():
    with FakeProvider() as running:
        yield running


def run(page, blocks, provider, directory):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RATEKEEPER_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "NO_PROXY": "127.0.0.1",
        "LANGSMITH_TRACING": "false",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": provider.openai_url,
        "ANTHROPIC_API_KEY": "sk-test",
        "ANTHROPIC_BASE_URL": provider.anthropic_url,
    }
    return subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([page.name, [(block.line, block.text) for block in blocks]]),
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@every_page
def test_every_python_block_runs_and_prints_what_it_says(page, provider, tmp_path):
    blocks = blocks_of(page, "python")
    for module in set(
        re.findall(r"^(?:from|import) (langchain\w*|langgraph)", page.read_text(), re.MULTILINE)
    ):
        pytest.importorskip(module)
    done = run(page, blocks, provider, tmp_path)
    assert done.returncode == 0, done.stderr
    for block, printed in zip(blocks, json.loads(done.stdout), strict=True):
        if promised(block):
            assert printed.splitlines() == promised(block), f"{page.name}, line {block.line}"


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
    named = set(re.findall(r"`(RATEKEEPER_[A-Z_]+)`", text)) - {"RATEKEEPER_CONFIG"}
    assert len(named) >= 8
    for name in named:
        loaded = config.load(environ={name: "7", "RATEKEEPER_CONFIG": os.devnull})
        [value] = loaded.values()
        assert "7" in repr(value), name


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
