"""Two jobs at a time, however many requests come in; their calls carry the job's name.

    OPENAI_API_KEY=... python examples/kickoff_guard.py

A job may be a crew's kickoff, a graph or, as here, a chain of calls. `guard` takes coroutine functions too.
"""

from concurrent.futures import ThreadPoolExecutor

from langchain_openai import ChatOpenAI

import ratekeeper as rk


class Report(rk.Hook):
    def settled(self, event: rk.Settled) -> None:
        print(f"{event.tags['job']}, {event.caller}: {event.usage}")


keeper = rk.Keeper(rk.Quota(rpm=500, tpm=200_000), hooks=Report())
model = ChatOpenAI(model="gpt-4o-mini", max_tokens=150)
researcher = keeper.wrap(model, agent="researcher")
writer = keeper.wrap(model, agent="writer")


@keeper.guard(concurrency=2, timeout=300, tags={"job": "research"})
def research(topic: str) -> str:
    notes = researcher.invoke(f"Three facts about {topic}, one line each.")
    return writer.invoke(f"Make one sentence of these notes:\n{notes.text}").text


with ThreadPoolExecutor(8) as pool:
    for answer in pool.map(research, ["tides", "sourdough", "glaciers", "bees", "lighthouses"]):
        print("->", answer)
