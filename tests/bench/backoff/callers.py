"""The contenders: what people put between their calls and the provider's refusals, each as its documentation shows it.

Owns how they are made. Each imports its own library only when it is made: not all of them fit into one environment.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypedDict

_MODEL, _KEY = "gpt-4o-mini", "sk-bench"


class Told(TypedDict):
    """The quota as far as a contender is told: amounts in so many seconds."""

    rpm: float
    tpm: float
    window: float


class Target(TypedDict):
    """What is to be called.

    Attributes:
        url: Of the provider.
        max_tokens: Of each call.
        told: The quota; None for a contender that is told nothing.
    """

    url: str
    max_tokens: int
    told: Told | None


class Contender(NamedTuple):
    """One way to call the model.

    Attributes:
        call: From a prompt to its answer.
        errors: What a call raises that failed for good.
    """

    call: Callable[[str], Awaitable[Any]]
    errors: tuple[type[Exception], ...]


def ratekeeper(target: Target) -> Contender:
    """One line: the wrapped model is called as before."""
    import openai
    from langchain_openai import ChatOpenAI

    import ratekeeper as rk

    model = ChatOpenAI(model=_MODEL, api_key=_KEY, base_url=target["url"], max_tokens=target["max_tokens"])
    told = target["told"]
    keeper = rk.Keeper(_quota(told), slow_wait=600) if told else rk.Keeper(slow_wait=600)
    return Contender(keeper.wrap(model).ainvoke, (openai.APIError, rk.RatekeeperError))


def _quota(told: Told) -> Any:
    import ratekeeper as rk

    amounts = (("requests", told["rpm"]), ("tokens", told["tpm"]))
    return rk.Quota(*(rk.Limit(name, round(amount), told["window"]) for name, amount in amounts))


def sdk(retries: int) -> Callable[[Target], Contender]:
    """The SDK's own retries, which honour Retry-After."""

    def made(target: Target) -> Contender:
        import openai

        client = openai.AsyncOpenAI(base_url=target["url"], api_key=_KEY, max_retries=retries)
        create = client.chat.completions.create

        async def call(prompt: str) -> Any:
            return await create(**_request(target, prompt))

        return Contender(call, (openai.APIError,))

    return made


def tenacity(target: Target) -> Contender:
    """The decorator of OpenAI's cookbook, with more attempts, around a client that does not retry."""
    import openai
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    transient = (openai.RateLimitError, openai.InternalServerError, openai.APIConnectionError)
    again = retry(
        wait=wait_random_exponential(max=60),
        stop=stop_after_attempt(10),
        retry=retry_if_exception_type(transient),
        reraise=True,
    )
    call, errors = sdk(0)(target)
    return Contender(again(call), errors)


def litellm_router(target: Target) -> Contender:
    """One deployment behind a Router that retries ten times."""
    # Else it fetches its prices from the network when it is imported.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    import openai

    litellm.suppress_debug_info = True
    deployment = {"model": f"openai/{_MODEL}", "api_base": target["url"], "api_key": _KEY}
    router = litellm.Router([{"model_name": _MODEL, "litellm_params": deployment}], num_retries=10)

    async def call(prompt: str) -> Any:
        return await router.acompletion(**_request(target, prompt))

    # While a deployment cools down the Router raises a ValueError of its own.
    return Contender(call, (openai.APIError, ValueError))


def _request(target: Target, prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": _MODEL, "max_tokens": target["max_tokens"], "messages": messages}


OURS, LITELLM = "ratekeeper", "LiteLLM Router"
CONTENDERS: dict[str, Callable[[Target], Contender]] = {
    OURS: ratekeeper,
    "SDK, max_retries=2": sdk(2),
    "SDK, max_retries=10": sdk(10),
    "tenacity": tenacity,
    LITELLM: litellm_router,
}
