"""AutoGen's classic agents on the fake provider, in every version: only what autogen, ag2 and pyautogen share."""

from __future__ import annotations

from types import SimpleNamespace

import autogen
import pytest

from ratekeeper.testing import Reply


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """AutoGen keeps a cache of answers in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _no_vocabulary(monkeypatch):
    """For its own statistics of streams, AutoGen before 0.10 counts by a vocabulary that it fetches."""
    monkeypatch.setattr("autogen.oai.client.count_token", lambda *_, **__: 1, raising=False)


@pytest.fixture
def httpx():
    """The package of HTTP clients that this AutoGen takes from its users."""
    try:
        import httpx
    except ImportError:
        import httpx2 as httpx
    return httpx


@pytest.fixture
def entry(provider):
    """Makes an entry of a config: of OpenAI, or `azure`."""

    def make(kind="openai", **settings):
        if kind == "azure":
            named = {
                "api_type": "azure",
                "model": "mini",
                "api_version": "2024-10-21",
                "base_url": provider.azure_url,
            }
        else:
            named = {"model": "gpt-4o-mini", "base_url": provider.openai_url}
        return {"api_key": "sk-test", **named, **settings}

    return make


@pytest.fixture
def config(entry):
    """Makes an llm_config of one entry, without AutoGen's own cache."""
    return lambda *entries, **settings: {
        "config_list": list(entries) or [entry()],
        "cache_seed": None,
        **settings,
    }


@pytest.fixture
def assistant():
    """Makes an agent that answers by a model."""
    return lambda config, name="writer", **settings: autogen.AssistantAgent(
        name, llm_config=config, **settings
    )


@pytest.fixture
def user():
    """Makes an agent that asks, and answers as often as it is told; without a model."""

    def make(replies=0, name="user", **settings):
        settings = {"code_execution_config": False, "default_auto_reply": "Go on.", **settings}
        return autogen.UserProxyAgent(
            name, human_input_mode="NEVER", max_consecutive_auto_reply=replies, llm_config=False, **settings
        )

    return make


@pytest.fixture
def group(assistant):
    """Makes a group of three, whose manager picks who speaks by a model."""

    def make(config, **settings):
        agents = [
            assistant(config, name, description=f"The {name}.") for name in ("writer", "critic", "editor")
        ]
        settings = {"max_round": 4, "speaker_selection_method": "auto", "messages": [], **settings}
        return autogen.GroupChat(agents=agents, **settings)

    return make


@pytest.fixture
def says_who():
    """The answers of a model that is asked who speaks next, in order."""
    return lambda *names: [Reply(text=name, match="select the next role") for name in names]


@pytest.fixture
def cast(request):
    """All that makes something, by name."""
    makers = ("assistant", "user", "group", "says_who", "config", "entry")
    return SimpleNamespace(**{name: request.getfixturevalue(name) for name in makers})
