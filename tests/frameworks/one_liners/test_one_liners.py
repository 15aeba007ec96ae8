"""The README's table of one-liners, each written as it stands there and used for one real call."""

from __future__ import annotations

import pytest
from pages import ROOT, one_liners

#: What the README says to write → what stands above it in a program, and a call with what it gives, `made`.
PROGRAMS = {
    'keeper.wrap(ChatOpenAI(model="gpt-4o-mini"))': (
        "from langchain_openai import ChatOpenAI",
        "made.invoke('Hello')",
    ),
    "keeper.wrap_crew(crew)": (
        """
from crewai import Agent, Crew, LLM, Task
agent = Agent(role="Poet", goal="A line", backstory="Old", llm=LLM(model="gpt-4o-mini"))
crew = Crew(agents=[agent], tasks=[Task(description="Write", expected_output="A line", agent=agent)])
""",
        "made.kickoff()",
    ),
    'keeper.wrap(LLM(model="gpt-4o-mini"))': ("from crewai import LLM", "made.call('Hello')"),
    'keeper.crewai_llm(ChatOpenAI(model="gpt-4o-mini"))': (
        "from langchain_openai import ChatOpenAI",
        "made.call('Hello')",
    ),
    'keeper.wrap({"config_list": [{"model": "gpt-4o-mini"}]})': (
        "import autogen",
        "autogen.ConversableAgent('poet', llm_config=made).generate_reply([{'role': 'user', 'content': 'Hello'}])",
    ),
    'keeper.wrap(OpenAIChatCompletionClient(model="gpt-4o-mini"))': (
        """
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
""",
        "run(made.create([UserMessage(content='Hello', source='user')]))",
    ),
    "keeper.wrap(OpenAI())": (
        "from openai import OpenAI",
        "made.chat.completions.create(model='gpt-4o-mini', messages=[{'role': 'user', 'content': 'Hello'}])",
    ),
    "keeper.litellm().completion": (
        "",
        "made(model='gpt-4o-mini', messages=[{'role': 'user', 'content': 'Hello'}])",
    ),
    "keeper.wrap(Router(model_list))": (
        """
from litellm import Router
model_list = [{"model_name": "small", "litellm_params": {"model": "openai/gpt-4o-mini"}}]
""",
        "made.completion(model='small', messages=[{'role': 'user', 'content': 'Hello'}])",
    ),
    "keeper.wrap(httpx.AsyncClient())": (
        "import httpx, os",
        """run(made.post(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    headers={"authorization": "Bearer sk-test"},
    json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
))""",
    ),
}
#: Rows whose framework cannot be installed beside the others, and who tries them.
ELSEWHERE = {'keeper.wrap(OpenAIConfig(model="gpt-4o-mini"))': "ag2/test_docs.py"}


def test_every_row_is_tried():
    assert sorted(one_liners()) == sorted([*PROGRAMS, *ELSEWHERE])
    for code, test in ELSEWHERE.items():
        assert code in (ROOT / "tests" / "frameworks" / test).read_text(encoding="utf-8")


@pytest.fixture
def program(books, run, kept, provider, monkeypatch):
    """The names of a program, which is kept: clients that go leave their connections open."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
    kept.append({"keeper": books.keeper(), "run": run})
    return kept[-1]


@pytest.mark.filterwarnings("ignore:Resolved model mismatch:UserWarning")
@pytest.mark.parametrize("code", PROGRAMS)
def test_what_the_readme_says_to_write_puts_a_real_call_under_the_keeper(code, program, books):
    above, call = PROGRAMS[code]
    exec(above, program)
    program["made"] = eval(code, program)
    eval(call, program)
    books.agree_in_tokens(1)
    if hasattr(program["made"], "aclose"):
        program["run"](program["made"].aclose())
