"""Checks of a fake provider's settings.

Owns the wording. May not change a value.
"""

from __future__ import annotations

import math

from ratekeeper.errors import ConfigError


def number(name: str, value: float | None, *, least: float = 0.0, above: bool = False) -> None:
    """None, or a finite number of at least ``least``, or above it.

    Raises:
        ConfigError: It is neither.
    """
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, not {value!r}", field=name)
    if value < least or (above and value == least):
        raise ConfigError(
            f"{name} must be {'more than' if above else 'at least'} {least:g}, not {value!r}", field=name
        )


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """One of the allowed words.

    Raises:
        ConfigError: It is another.
    """
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}", field=name)
