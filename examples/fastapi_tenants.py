"""An API whose tenants have daily budgets, with jobs in the background that know what they took.

With a key: OPENAI_API_KEY=... DAILY_USD=0.50 uvicorn --app-dir examples fastapi_tenants:app
"""

import os

from fastapi import BackgroundTasks, FastAPI, Header
from fastapi.responses import JSONResponse
from langchain_openai import ChatOpenAI

import ratekeeper as rk

day = rk.Budget(usd=os.environ["DAILY_USD"], per="day", by="tenant")
llm = rk.Keeper(budgets=day).wrap(ChatOpenAI(model="gpt-4o-mini", max_tokens=64))
app, jobs = FastAPI(), {}
app.exception_handler(rk.BudgetExceededError)(lambda _, error: JSONResponse({"error": str(error)}, 402))
app.get("/jobs/{name}")(lambda name: jobs.get(name, {"text": None}))


@app.post("/ask")
async def ask(question: str, x_tenant: str = Header()):
    with rk.tags(tenant=x_tenant):
        answer = await llm.ainvoke(question)
    return {"answer": answer.content, "spent_today": str(day.spent(tenant=x_tenant)["usd"])}


async def kickoff(name: str, topic: str, tenant: str) -> None:
    with rk.tags(tenant=tenant), rk.Job(name, [rk.Budget(calls=10)]) as job:
        texts = [(await llm.ainvoke(f"{step}: {topic}")).content for step in ("Outline", "Write", "Review")]
    jobs[name] = {"text": texts[-1], "calls": job.summary.calls, "usd": str(job.summary.usd)}


@app.post("/jobs/{name}")
async def start(name: str, topic: str, background: BackgroundTasks, x_tenant: str = Header()):
    background.add_task(kickoff, name, topic, x_tenant)
    return {"see": f"/jobs/{name}"}
