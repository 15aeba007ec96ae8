"""Eight AutoGen teams at once on one key: every call of every agent waits its turn, and each agent is on the books.

    OPENAI_API_KEY=... python examples/agentchat_team.py

Without the line `keeper.wrap`, eight teams call at once, and the first 429 ends its team as a RuntimeError.
"""

import asyncio
from collections import defaultdict

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient

import ratekeeper as rk

tokens = defaultdict(int)


class Tokens(rk.Hook):
    def settled(self, event: rk.Settled) -> None:
        tokens[event.caller] += event.usage.output_tokens


keeper = rk.Keeper(rk.Quota(rpm=500, concurrency=2), hooks=Tokens())
model = keeper.wrap(OpenAIChatCompletionClient(model="gpt-4o-mini", max_tokens=100))


async def discuss(animal: str) -> None:
    agents = [AssistantAgent(name, model, system_message=f"A {name}.") for name in ("poet", "critic")]
    await RoundRobinGroupChat(agents, max_turns=2).run(task=f"A line on a {animal}, and its faults.")


async def main() -> None:
    await asyncio.gather(*map(discuss, ["crow", "seal", "moth", "hare", "newt", "wasp", "carp", "lynx"]))
    print(*(f"{agent}: {count} tokens" for agent, count in sorted(tokens.items())), sep="\n")


asyncio.run(main())
