"""Summarise many documents at once, and never meet a 429.

    OPENAI_API_KEY=... python examples/langchain_gather.py

Without the line `keeper.wrap`, asyncio.gather sends all calls at once and dies of the first 429.
"""

import asyncio
from pydoc_data.topics import topics  # some forty pages of real text: Python's own manual

from langchain_openai import ChatOpenAI

import ratekeeper as rk

DOCS = [text[:6000] for _, text in sorted(topics.items())][:40]

keeper = rk.Keeper(rk.Quota(rpm=500, tpm=200_000, concurrency=16))
llm = keeper.wrap(ChatOpenAI(model="gpt-4o-mini", max_tokens=100))


async def main() -> None:
    answers = await asyncio.gather(*(llm.ainvoke(f"Summarise in one sentence:\n\n{doc}") for doc in DOCS))
    print(f"{len(answers)} answers; the first one: {answers[0].text[:200]}")
    for name, scope in keeper.status()["scopes"].items():
        for limit in scope["limits"]:
            print(f"{name}: {limit['remaining']:,} of {limit['limit']:,} {limit['dimension']} left")


asyncio.run(main())
