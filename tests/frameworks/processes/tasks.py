"""A Celery application whose tasks call the model; its broker and its results are files in the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from plan import ask, keeper, wrapped_client

FOLDER = Path(os.environ["QUEUE"])
MESSAGES = FOLDER / "messages"

app = Celery(
    "tasks",
    broker="filesystem://",
    backend=f"file://{FOLDER}",
    broker_transport_options={
        "data_folder_in": MESSAGES,
        "data_folder_out": MESSAGES,
        "control_folder": FOLDER / "control",
        "polling_interval": 0.05,
    },
    worker_prefetch_multiplier=1,
    worker_lost_wait=0.5,
)
# Made before the children are forked.
client = wrapped_client(keeper()) if "STORE" in os.environ else None
hoard = []


@app.task
def answer(question):
    assert ask(client, question).choices[0].message.content
    return os.getpid()


@app.task
def answer_and_hoard(question):
    hoard.append(b"x" * 100_000_000)
    return answer(question)
