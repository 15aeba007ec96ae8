"""Two customers share one API key: a flood from one does not hold up the other.

    OPENAI_API_KEY=... python examples/tenants.py

A web application sets the tenant once for each request, in a middleware.
"""

import asyncio
from collections import defaultdict

from langchain_openai import ChatOpenAI

import ratekeeper as rk

waits = defaultdict(list)


class Waits(rk.Hook):
    def started(self, event: rk.Started) -> None:
        waits[event.tenant].append(event.waited)


keeper = rk.Keeper(rk.Quota(rpm=500, concurrency=2), weights={"batch": 0.5}, hooks=Waits())
llm = keeper.wrap(ChatOpenAI(model="gpt-4o-mini", max_tokens=30))


async def ask(tenant: str, question: str) -> None:
    with rk.tags(tenant=tenant):
        await llm.ainvoke(question)


async def main() -> None:
    flood = (ask("batch", f"A number below {n}?") for n in range(16))  # all of it comes first
    await asyncio.gather(*flood, *(ask("shop", f"A number above {n}?") for n in range(4)))
    for tenant, seconds in waits.items():
        print(f"{tenant}: {len(seconds)} calls, waited at most {max(seconds):.2f} s")


asyncio.run(main())
