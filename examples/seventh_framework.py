"""A framework that no adapter knows (here Pydantic AI), under a keeper by its HTTP client alone.

    OPENAI_API_KEY=... python examples/seventh_framework.py

Whatever takes an HTTP client can be kept inside quotas like this; docs/http.md says what to look at.
"""

import asyncio

import httpx
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import ratekeeper as rk

keeper = rk.Keeper(rk.Quota(rpm=500, tpm=200_000, concurrency=2))
http = keeper.wrap(httpx.AsyncClient(timeout=60))
client = AsyncOpenAI(http_client=http, max_retries=0)  # the keeper tries again, nobody else
model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
agent = Agent(model, instructions="Answer in one sentence.")


async def ask(topic: str) -> str:
    with rk.tags(agent="explainer"):
        return (await agent.run(f"What is {topic}?")).output


async def main() -> None:
    topics = ["a tide", "a glacier", "a quasar", "a fjord", "a monsoon", "a geyser"]
    for answer in await asyncio.gather(*map(ask, topics)):
        print("->", answer)
    print(f"{len(keeper.status()['scopes'])} scope, {len(topics)} questions")
    await client.close()


asyncio.run(main())
