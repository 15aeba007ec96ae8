"""How much a wrapped config adds to one call of AutoGen's `OpenAIWrapper`; run it for the figures."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import autogen

from ..measuring import MESSAGES, MODEL, Added, at_once, in_turns, keeper


def added_by_wrapping() -> Added:
    """A `create` whose answers are there at once."""
    httpx: Any = import_module("httpx" if find_spec("httpx") is not None else "httpx2")
    with httpx.Client(transport=at_once(httpx)) as http_client:
        config = {"model": MODEL, "api_key": "sk-test", "http_client": http_client}
        bare = autogen.OpenAIWrapper(config_list=[config], cache_seed=None)
        wrapped = autogen.OpenAIWrapper(**keeper().wrap({"config_list": [config], "cache_seed": None}))
        return in_turns(lambda: bare.create(messages=MESSAGES), lambda: wrapped.create(messages=MESSAGES))


if __name__ == "__main__":
    print(added_by_wrapping())
