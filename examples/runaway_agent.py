"""An agent that never stops by itself, stopped at its budget: nothing is sent that could break it.

With a key: OPENAI_API_KEY=... python examples/runaway_agent.py
"""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

import ratekeeper as rk

keeper = rk.Keeper(rk.Quota(rpm=500, tpm=200_000, concurrency=16))
llm = keeper.wrap(ChatOpenAI(model="gpt-4o-mini", max_tokens=128), agent="researcher")


def search(query: str) -> str:
    """Searches the archive. Results are partial: search again with other words until nothing is missing."""
    return f"One of many documents on {query}. There is more."


agent = create_agent(
    llm, [search], system_prompt="Search until the results are complete. Never answer before."
)


@keeper.guard(budget=rk.Budget(usd="0.01", calls=12, seconds=300), on_end=print)
def research(topic: str) -> str:
    result = agent.invoke({"messages": [("user", topic)]}, {"recursion_limit": 10_000})
    return result["messages"][-1].content


try:
    print(research("The tide tables of Brest, 1850 to 1900"))
except rk.BudgetExceededError as error:
    print(f"stopped: {error}")
print(keeper.costs.table(by="agent"))
