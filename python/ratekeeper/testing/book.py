"""Which limits hold for which key and model, now: the accounts, and the changes that cut or raise them.

Owns the accounts and the order of changes. May not read a clock: the caller brings ``now``.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from ratekeeper.testing.quotas import Account
from ratekeeper.testing.settings import Algorithm, Limits, QuotaChange, Settings


class QuotaBook:
    """All accounts of one provider."""

    def __init__(self, settings: Settings, started: float) -> None:
        self._settings = settings
        self._started = started
        self._accounts: dict[tuple[str, str], Account] = {}
        self._due: list[QuotaChange] = sorted(settings.changes, key=lambda change: change.at)
        self._done: list[QuotaChange] = []

    def account(self, key: str, model: str, documented: Algorithm, now: float) -> Account:
        """The account of a key and model, with the limits that hold now.

        Args:
            key: The key's fingerprint.
            model: The model, or the Azure deployment.
            documented: The algorithm the vendor documents, taken if the limits name none.
            now: Monotonic seconds.
        """
        while self._due and self._due[0].at <= now - self._started:
            self.change(self._due.pop(0), now)
        account = self._accounts.get((key, model))
        if account is None:
            limits = self._limits(model)
            account = Account(limits, limits.algorithm or documented)
            account.apply(limits, now)
            self._accounts[key, model] = account
        return account

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

    def _limits(self, model: str) -> Limits:
        matching = (
            limits for pattern, limits in self._settings.models.items() if fnmatchcase(model, pattern)
        )
        limits = next(matching, self._settings)
        for change in self._done:
            if fnmatchcase(model, change.model):
                limits = limits.changed_by(change)
        return limits
