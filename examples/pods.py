"""Six pods with one key: every pod is given the full quota, and together they use all of it, and no more.

The pods are processes, and the provider is a local one. python examples/pods.py [redis://localhost]
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time

from langchain_openai import ChatOpenAI

import ratekeeper as rk
from ratekeeper.testing import FakeProvider

CALLS = {"pod-1": 60, "pod-2": 20, "pod-3": 10, "pod-4": 10, "pod-5": 10, "pod-6": 10}


def pod(name: str, calls: int, store: str, address: str) -> str:
    keeper = rk.Keeper(rk.Quota(rk.Limit("requests", 1200, 60, burst=40), concurrency=16), store=store)
    llm = keeper.wrap(ChatOpenAI(model="gpt-4o-mini", max_tokens=64, base_url=address, api_key="sk-pods"))

    async def work() -> None:
        await asyncio.gather(*(llm.ainvoke(f"Summarise document {number}.") for number in range(calls)))

    start = time.monotonic()
    asyncio.run(work())
    return f"{name}: {calls} answers in {time.monotonic() - start:.1f} s"


if __name__ == "__main__":
    store = sys.argv[1] if sys.argv[1:] else f"sqlite:///{tempfile.mkdtemp()}/quota.db"
    provider = FakeProvider.spawn(rpm=1200, burst=1 / 30, latency=0.2)
    with provider, multiprocessing.Pool(len(CALLS)) as pods:
        jobs = [(*job, store, provider.openai_url) for job in CALLS.items()]
        print(*pods.starmap(pod, jobs, chunksize=1), sep="\n")
        report = provider.report()
        print(f"the provider answered {report.answered} calls, and refused {report.refused} with a 429")
