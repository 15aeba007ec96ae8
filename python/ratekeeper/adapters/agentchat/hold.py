"""What a wrapped model client carries beyond its own.

Owns the one entry of its instance dict, and the offline count of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ratekeeper.desk import find_desk

if TYPE_CHECKING:
    from ratekeeper.gate import Gate, Options
    from ratekeeper.keeper import Keeper
    from ratekeeper.providers import Request

SLOT = "_ratekeeper_hold"


class Hold:
    """A wrapped client's way to its keeper; its copies share it.

    Attributes:
        keeper: Whose quotas count.
        options: How the client was wrapped.
        gate: For clients whose calls are gated as a whole; that of the others stands below, in their SDK's client.
    """

    __slots__ = ("_desk", "gate", "keeper", "options")

    def __init__(self, keeper: Keeper, options: Options, gate: Gate) -> None:
        self.keeper = keeper
        self.options = options
        self.gate = gate
        self._desk = find_desk(gate.keeper)

    def count(self, request: Request) -> int:
        """Input tokens, by the user's own function or by the keeper's calibrated estimate."""
        if self._desk.count is not None:
            return self._desk.count(request)
        estimator = self._desk.estimator
        counted = estimator.count(request.content, request.tools)
        return estimator.input_tokens(counted, model=request.model)


def hold_of(client: Any) -> Hold | None:
    """What a wrapped client carries; None for any other."""
    hold = getattr(client, "__dict__", {}).get(SLOT)
    return hold if isinstance(hold, Hold) else None
