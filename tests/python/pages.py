"""The pages of the documentation, their blocks of code, the examples, and what runs these.

Owns no rule: what is right is said in the tests. Shared by the tests of the package and those of the frameworks, since a
page about a framework runs where that is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
#: Pages that need more than LangChain, by the folder of tests/frameworks that runs them.
RUN_BY = {
    "ag2": "ag2.md",
    "agentchat": "agentchat.md",
    "crewai": "crewai.md",
    "http": "http.md",
    "litellm": "litellm.md",
    "llm_config": "autogen.md",
    "sdks": "sdks.md",
}
ELSEWHERE = set(RUN_BY.values())
EXAMPLES = ROOT / "examples"
#: Examples that need more than LangChain, by the folder of tests/frameworks that runs them.
EXAMPLES_RUN_BY = {
    "ag2": "ag2_agent.py",
    "agentchat": "agentchat_team.py",
    "crewai": "crewai_crew.py",
    "fastapi": "fastapi_tenants.py",
    "http": "seventh_framework.py",
    "litellm": "litellm_completion.py",
    "llm_config": "autogen_chat.py",
    "processes": "pods.py",
}

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


def one_liners():
    """What the README's table says to write, row by row."""
    text = README.read_text(encoding="utf-8")
    table = text.partition("| you have | you write |\n|---|---|\n")[2].partition("\n\n")[0]
    return [code for row in table.splitlines() for code in re.findall(r"`([^`]+)`", row.split(" | ")[1])]


def promised(block):
    """The lines that a block says it prints."""
    return [line.strip()[4:] for line in block.text.splitlines() if line.strip().startswith("# > ")]


def run(page, blocks, provider, directory):
    given = json.dumps([page.name, [(block.line, block.text) for block in blocks]])
    return python("-c", RUNNER, provider=provider, input=given, cwd=directory)


def run_example(name, provider):
    """An example as a user runs it, unchanged and in a process of its own: what it printed. It shows no key."""
    done = python(EXAMPLES / name, provider=provider)
    assert done.returncode == 0, done.stderr
    assert "sk-test" not in done.stdout + done.stderr
    return done.stdout


def environment_of(provider):
    """The environment of a process in which every SDK calls the fake provider."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RATEKEEPER_")}
    return environment | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "NO_PROXY": "127.0.0.1",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": provider.openai_url,
        "ANTHROPIC_API_KEY": "sk-test",
        "ANTHROPIC_BASE_URL": provider.anthropic_url,
        "ANTHROPIC_API_BASE": provider.anthropic_url,
    }


def python(*arguments, provider, **settings):
    """Another interpreter, in which every SDK calls the fake provider."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment_of(provider),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **settings,
    )


def what_differs(page, provider, directory):
    """Runs a page and gives what it did not do as it says; empty if all is well."""
    blocks = blocks_of(page, "python")
    done = run(page, blocks, provider, directory)
    if done.returncode != 0:
        return done.stderr
    differing = [
        f"{page.name}, line {block.line}: printed {printed!r}"
        for block, printed in zip(blocks, json.loads(done.stdout), strict=True)
        if promised(block) and printed.splitlines() != promised(block)
    ]
    return "\n".join(differing)
