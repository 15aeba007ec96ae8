"""Whose quota a call falls under, and which of the configured quotas that is.

Owns scopes and the matching of patterns. No limiter, no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from .errors import ConfigError


class Scope(NamedTuple):
    """Whose quota: its text form is ``provider/account/group``.

    Attributes:
        provider: The API, such as ``openai``.
        account: A fingerprint of the key (never the key), or the name given to `wrap(account=)`.
        group: The model, or the family of models (on Azure the deployment) that shares one limit.
    """

    provider: str
    account: str
    group: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.account}/{self.group}"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """The scope of a text such as ``openai/3f9a0c52e17b/gpt-4o``; only the group may contain slashes.

        Raises:
            ConfigError: A part is missing.
        """
        parts = text.split("/", 2)
        if len(parts) < 3 or not all(parts):
            raise ConfigError(f"scope: expected provider/account/group, got {text!r}", field="scope")
        return cls(*parts)

    def names(self, model: str) -> tuple[str, str]:
        """What patterns for `model` may match: with and without the account."""
        return f"{self.provider}/{model}", f"{self.provider}/{self.account}/{model}"


def best(patterns: Iterable[str], names: Iterable[str]) -> str | None:
    """The most specific of `patterns` that matches any of `names`, or None.

    A pattern without wildcards beats every pattern with one; among those the one with more literal characters
    wins; among equals the one given first. Upper and lower case are the same, as in model names.
    """
    folded = [name.lower() for name in names]
    matching = [pattern for pattern in patterns if any(fnmatchcase(name, pattern.lower()) for name in folded)]
    return max(matching, key=_specificity, default=None)


def family_of(families: Mapping[str, Iterable[str]], names: Iterable[str]) -> str | None:
    """The family whose most specific pattern matches any of `names`, or None."""
    members = {pattern: family for family, patterns in families.items() for pattern in patterns}
    found = best(members, names)
    return None if found is None else members[found]


def _specificity(pattern: str) -> tuple[bool, int]:
    wildcards = sum(pattern.count(character) for character in "*?[")
    return wildcards == 0, len(pattern) - wildcards
