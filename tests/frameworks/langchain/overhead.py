"""How much a wrapper adds to one `invoke` of a LangChain model; run it for the figures."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from ..measuring import QUESTION, SYSTEM, Added, in_turns, keeper

MESSAGES = [SystemMessage(SYSTEM), HumanMessage(QUESTION)]


class Idle(BaseChatModel):
    """Answers the same at once."""

    def _generate(
        self, messages: list[Any], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        usage = {"input_tokens": 90, "output_tokens": 1, "total_tokens": 91}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Oslo", usage_metadata=usage))])

    @property
    def _llm_type(self) -> str:
        return "idle"


def added_by_wrapping() -> Added:
    """An `invoke` of a model that does nothing."""
    bare = Idle()
    wrapped = keeper().wrap(bare)
    return in_turns(lambda: bare.invoke(MESSAGES), lambda: wrapped.invoke(MESSAGES))


if __name__ == "__main__":
    print(added_by_wrapping())
