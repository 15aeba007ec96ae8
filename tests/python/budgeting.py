"""Keepers with budgets, and calls of known prices under them."""

import asyncio

import ratekeeper as rk
from ratekeeper.providers import Request, Usage

MODEL = "gpt-4o-mini"
#: 0.15 and 0.60 USD per million tokens.
PRICES = {MODEL: {"input": 0.15, "output": 0.60}}


def keeper_of(*budgets, **settings):
    settings.setdefault("prices", PRICES)
    return rk.Keeper(budgets=budgets, retry=None, **settings)


def request(max_tokens=100, text="hello", model=MODEL):
    return Request(model, text, max_tokens=max_tokens)


def spend(keeper, usage=None, model=MODEL, **asked):
    usage = usage or Usage(10, 20)
    with keeper.gate("openai", "acct").call(request(model=model, **asked)) as call:
        call.settle(usage)


async def aspend(keeper, usage, seconds=0.0, **asked):
    async with keeper.gate("openai", "acct").call(request(**asked)) as call:
        await asyncio.sleep(seconds)
        call.settle(usage)


def pico(usage):
    return usage.input_tokens * 150_000 + usage.output_tokens * 600_000
