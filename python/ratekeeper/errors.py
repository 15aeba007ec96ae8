"""What can go wrong, as exceptions that carry what, how much and until when.

Every error pickles, and its attributes say what a program needs to react; the message says what a person needs.
"""

from __future__ import annotations


class RatekeeperError(Exception):
    """Anything that ratekeeper itself refuses or cannot do."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by arguments and attributes, whatever the signature of ``__init__``."""
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(
    kind: type[RatekeeperError], args: tuple[object, ...], state: dict[str, object]
) -> RatekeeperError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class QuotaExceededError(RatekeeperError):
    """No room before the deadline.

    Attributes:
        scope: Whose quota is used up, as ``provider/account/group`` or the limiter's name.
        dimension: Which dimension has no room, such as ``"requests"`` or ``"concurrency"``.
        retry_after: Seconds until it could be tried again, or None where nobody can know (a permit that is held).
    """

    def __init__(self, message: str, *, scope: str, dimension: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.scope = scope
        self.dimension = dimension
        self.retry_after = retry_after


class PausedError(QuotaExceededError):
    """The provider said to stop, for longer than the call may wait.

    Attributes:
        retry_after: Seconds until the time that the provider named.
    """


class NeverFitsError(RatekeeperError, ValueError):
    """The call asks for more than the quota could ever hold.

    Attributes:
        scope: Whose quota is too small.
        dimension: Which dimension.
        amount: What was asked.
        limit: What the quota holds at most.
    """

    def __init__(self, message: str, *, scope: str, dimension: str, amount: int, limit: int) -> None:
        super().__init__(message)
        self.scope = scope
        self.dimension = dimension
        self.amount = amount
        self.limit = limit


class BudgetExceededError(RatekeeperError):
    """A budget has no room for a call; nothing was sent.

    Attributes:
        tags: Whose budget it is.
        limit: What it holds, a Decimal for USD.
        spent: What is used of it.
        measure: Of what: ``"usd"``, ``"tokens"``, ``"calls"`` or ``"seconds"``.
    """

    def __init__(
        self, message: str, *, tags: dict[str, str], limit: object, spent: object, measure: str = "calls"
    ) -> None:
        super().__init__(message)
        self.tags = tags
        self.limit = limit
        self.spent = spent
        self.measure = measure


class LeaseError(RatekeeperError):
    """A lease was settled twice, used before it was held, or had expired and was given away."""


class StoreError(RatekeeperError):
    """What is kept in a file or shared with others cannot be reached, or is not what it should be.

    Attributes:
        store: Where it is.
    """

    def __init__(self, message: str, *, store: str) -> None:
        super().__init__(message)
        self.store = store


class EventLoopBlockedError(RatekeeperError, RuntimeError):
    """A blocking wait was about to stop the event loop that runs on this thread; use ``async with`` or ``await``."""


class ConfigError(RatekeeperError, ValueError):
    """A setting is wrong.

    Attributes:
        field: The setting's full name, such as ``quotas."openai/gpt-4o".rpm``.
    """

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field
