"""What we refuse, as LangChain passes it on.

Owns the memory of refused runs. LangChain's middlewares make a message of most exceptions, or ask another model: a model
error that says that trying again is useless is passed on, and what a budget has refused is refused to the whole run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from langchain_core import exceptions

from ratekeeper.adapters.dress import dressed
from ratekeeper.errors import BudgetExceededError, RatekeeperError

#: None before langchain-core 1.7.
_MODEL_ERROR: Any = getattr(exceptions, "ModelError", None)
_MOST_KEPT = 256
#: Runs in which a budget has refused a call, the oldest first.
_refused: OrderedDict[Hashable, BudgetExceededError] = OrderedDict()


def told(error: RatekeeperError, run: Hashable) -> RatekeeperError:
    """The refusal of a call, to be raised in place of `error`.

    Args:
        error: What the gate has raised.
        run: The run that the call is part of; None for none.
    """
    if run is not None and isinstance(error, BudgetExceededError):
        _refused[run] = error
        while len(_refused) > _MOST_KEPT:
            _refused.popitem(last=False)
    return dressed(error, _MODEL_ERROR)


def check(run: Hashable) -> None:
    """Refuses the call of a run in which a budget has refused another: a retry, or a fallback to another model.

    Raises:
        BudgetExceededError: That one.
    """
    error = _refused.get(run) if _refused and run is not None else None
    if error is not None:
        raise dressed(error, _MODEL_ERROR).with_traceback(None)
