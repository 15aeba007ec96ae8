"""Whether the code that runs here is still part of a gated call.

Owns ears that end with their call: what a call leaves behind, such as the tasks in which LiteLLM runs callbacks, keeps
the call's context and so its ear. A model that is asked there is asked by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from ratekeeper import ear


class CallEar(ear.Ear):
    """The ear of one attempt; deaf after its end."""

    __slots__ = ("is_over",)

    is_over: bool

    def __init__(self, learn: Callable[[object], None]) -> None:
        super().__init__(learn)
        self.is_over = False

    def end(self) -> None:
        """The attempt is over."""
        self.is_over = True


def listening() -> ear.Ear | None:
    """The ear of the gated call that the code here is part of, if any."""
    found = ear.listening()
    return None if isinstance(found, CallEar) and found.is_over else found
