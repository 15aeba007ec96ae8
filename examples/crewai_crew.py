"""Eight runs of a crew at once, two model calls at a time; what each agent used, and that no model goes around.

OPENAI_API_KEY=... python examples/crewai_crew.py
"""

import asyncio
from collections import Counter

from crewai import LLM, Agent, Crew, Task

import ratekeeper as rk


class Bill(rk.Hook):
    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()

    def settled(self, event: rk.Settled) -> None:
        if event.usage:
            self.tokens[event.tags["agent"]] += event.usage.input_tokens + event.usage.output_tokens


bill = Bill()
keeper = rk.Keeper(rk.Quota(rpm=500, tpm=200_000, concurrency=2), hooks=bill)
llm = LLM(model="openai/gpt-4o-mini", max_tokens=150)
researcher = Agent(role="researcher", goal="Find facts", backstory="Reads a lot.", llm=llm)
writer = Agent(role="writer", goal="Write clearly", backstory="Says it briefly.", llm=llm)
notes = Task(description="Three facts about {topic}.", expected_output="Three lines", agent=researcher)
text = Task(description="One sentence of the facts.", expected_output="A sentence", agent=writer)
crew = keeper.wrap_crew(Crew(agents=[researcher, writer], tasks=[notes, text]))

topics = ["tides", "sourdough", "glaciers", "bees", "lighthouses", "moss", "kelp", "amber"]
outputs = asyncio.run(crew.kickoff_for_each_async([{"topic": topic} for topic in topics]))
print(f"{len(outputs)} texts; unwrapped: {[row.where for row in keeper.audit(crew) if not row.wrapped]}")
for agent, tokens in sorted(bill.tokens.items()):
    print(f"{agent}: {tokens} tokens")
