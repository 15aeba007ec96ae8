"""The application that is served here: examples/fastapi_tenants.py under a quota that its workers share."""

from __future__ import annotations

import os

from fastapi import FastAPI, Header
from langchain_openai import ChatOpenAI
from plan import MODEL, keeper

import ratekeeper as rk

# Made before gunicorn forks its workers, where it is told to load the application first.
llm = keeper().wrap(ChatOpenAI(model=MODEL, max_tokens=16), account="prod")
app = FastAPI()


@app.get("/")
def here():
    return os.getpid()


@app.post("/ask")
async def ask(question: str, x_tenant: str = Header()):
    with rk.tags(tenant=x_tenant):
        answer = await llm.ainvoke(question)
    return {"answer": answer.content, "process": os.getpid()}


@app.post("/ask-in-a-thread")
def ask_in_a_thread(question: str, x_tenant: str = Header()):
    with rk.tags(tenant=x_tenant):
        answer = llm.invoke(question)
    return {"answer": answer.content, "process": os.getpid()}
