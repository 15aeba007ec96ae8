"""Models that LiteLLM's callbacks ask: they run after the call, in its context, and are calls by themselves."""

import asyncio

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger

import ratekeeper as rk

from .conftest import MESSAGES, gathered


class Judge(CustomLogger):
    """Asks a model what it thinks of the first answer."""

    def __init__(self, ask):
        super().__init__()
        self._ask = ask
        self.verdicts = []

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        ask, self._ask = self._ask, None
        if ask is not None:
            self.verdicts.append(await ask())


@pytest.fixture
def callbacks():
    """LiteLLM's own list of them; it copies it into others, and keeps one of each class."""
    litellm.logging_callback_manager._reset_all_callbacks()
    yield litellm.callbacks
    litellm.logging_callback_manager._reset_all_callbacks()


def by_litellm(keeper, route, _):
    return lambda: keeper.litellm().acompletion(messages=MESSAGES, **route("anthropic"))


def by_sdk(keeper, route, kept):
    import openai

    settings = route("openai")
    client = keeper.wrap(openai.AsyncOpenAI(api_key="sk-test", base_url=settings["api_base"]))
    kept.append(client)
    return lambda: client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", [by_litellm, by_sdk])
def test_a_model_that_a_callback_asks_has_a_lease_of_its_own(
    *, way, stream, route, run, books, callbacks, kept
):
    keeper = books.keeper(rk.Quota(concurrency=1))
    judge = Judge(way(keeper, route, kept))
    callbacks.append(judge)

    async def main():
        answer = await keeper.litellm().acompletion(messages=MESSAGES, stream=stream, **route("openai"))
        if stream:
            await gathered(answer)
        for _ in range(1000):
            if judge.verdicts:
                return
            await asyncio.sleep(0.01)

    run(main())
    books.agree_in_tokens(2)
