"""An ag2 agent that talks, forgets and remembers in short: its compaction is under the quota too.

    OPENAI_API_KEY=... python examples/ag2_agent.py

Compaction asks the model past all of ag2's middleware; a wrapped config is asked by it as by the agent.
"""

import asyncio

from ag2 import Agent, KnowledgeConfig, MemoryStream
from ag2.compact import CompactTrigger, SummarizeCompact
from ag2.config import OpenAIConfig
from ag2.knowledge import MemoryKnowledgeStore

import ratekeeper as rk

keeper = rk.Keeper(rk.Quota(rpm=500, concurrency=2))
config = keeper.wrap(OpenAIConfig(model="gpt-4o-mini", max_tokens=100))


async def main() -> None:
    in_short = SummarizeCompact(2, config)
    knowledge = KnowledgeConfig(
        store=MemoryKnowledgeStore(), compact=in_short, compact_trigger=CompactTrigger(max_events=4)
    )
    agent, stream = (
        Agent("guide", "Answer in one sentence.", config=config, knowledge=knowledge),
        MemoryStream(),
    )
    for question in ("Who are you?", "What is a tide?", "And an ebb?", "What did I ask you first?"):
        reply = await agent.ask(question, stream=stream)
        print(f"{question} {reply.body[:60]}")
    for name, scope in keeper.status()["scopes"].items():
        print(f"{name}: {scope['in_flight']} in flight")


asyncio.run(main())
