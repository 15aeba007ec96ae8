"""What the applications here share with their tests: the quota, and the model under it."""

from __future__ import annotations

import os

import ratekeeper as rk

#: The provider's quota: requests a second, and calls at once.
PER_SECOND, AT_ONCE = 40, 12
MODEL = "gpt-4o-mini"
SCOPE = f"openai/prod/{MODEL}"


def keeper(store=None):
    """A keeper with the full quota, in the store that all processes of a test share."""
    quota = rk.Quota(rk.Limit("requests", PER_SECOND, 1), concurrency=AT_ONCE)
    return rk.Keeper(quota, store=store or os.environ["STORE"])


def wrapped_client(of):
    """OpenAI's own client under a keeper."""
    import openai

    return of.wrap(openai.OpenAI(), account="prod")


def ask(client, question):
    """One call."""
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=MODEL, messages=messages, max_tokens=16)
