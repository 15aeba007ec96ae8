"""Which limits hold for which key and model, now: the accounts, the changes of their limits, their other users.

Owns the accounts and the order of changes and uses. May not read a clock: the caller brings ``now``.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from ratekeeper.testing.limits import Algorithm, Limits, QuotaChange, Use
from ratekeeper.testing.quotas import Account
from ratekeeper.testing.settings import Settings


class QuotaBook:
    """All accounts of one provider."""

    def __init__(self, settings: Settings, started: float) -> None:
        self._settings = settings
        self._started = started
        self._accounts: dict[tuple[str, str], Account] = {}
        self._due: list[QuotaChange] = sorted(settings.changes, key=lambda change: change.at)
        self._done: list[QuotaChange] = []
        self._uses: list[tuple[float, Use]] = []

    def account(self, key: str, model: str, documented: Algorithm, now: float) -> Account:
        """The account of a key and model, with the limits that hold now.

        Args:
            key: The key's fingerprint.
            model: The model, or the Azure deployment.
            documented: The algorithm the vendor documents, taken if the limits name none.
            now: Monotonic seconds.
        """
        self._catch_up(now)
        account = self._accounts.get((key, model))
        if account is None:
            account = self._accounts[key, model] = self._open(key, model, documented, now)
        return account

    def use(self, use: Use, now: float) -> None:
        """Charge what somebody else used to all accounts it concerns, those to come included."""
        self._catch_up(now)
        self._uses.append((now, use))
        for (key, model), account in self._accounts.items():
            if use.concerns(key, model):
                account.take(use.amounts(), now)

    def change(self, change: QuotaChange, now: float) -> None:
        """Apply a change to all accounts it names, those to come included."""
        self._done.append(change)
        for (_, model), account in self._accounts.items():
            if fnmatchcase(model, change.model):
                account.apply(account.limits.changed_by(change), now)

    def models(self) -> Iterator[str]:
        """Every model seen or named without a pattern."""
        named = [model for model in self._settings.models if not set("*?[") & set(model)]
        return iter(dict.fromkeys([*named, *(model for _, model in self._accounts)]))

    def _catch_up(self, now: float) -> None:
        while self._due and self._due[0].at <= now - self._started:
            self.change(self._due.pop(0), now)

    def _open(self, key: str, model: str, documented: Algorithm, now: float) -> Account:
        """An account as if it had been there from the first use of somebody else on."""
        limits = self._limits(model)
        account = Account(limits, limits.algorithm or documented)
        uses = [(at, use) for at, use in self._uses if use.concerns(key, model)]
        account.apply(limits, uses[0][0] if uses else now)
        for at, use in uses:
            account.take(use.amounts(), at)
        return account

    def _limits(self, model: str) -> Limits:
        matching = (
            limits for pattern, limits in self._settings.models.items() if fnmatchcase(model, pattern)
        )
        limits = next(matching, self._settings)
        for change in self._done:
            if fnmatchcase(model, change.model):
                limits = limits.changed_by(change)
        return limits
