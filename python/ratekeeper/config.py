"""`ratekeeper.toml` and the environment → the arguments of a Keeper.

Owns the file's format. Reads nothing but the file and the environment it is given; makes no Keeper.

The file's tables have the names of the Keeper's arguments::

    headroom = 0.25                # seconds; also lease_ttl, timeout, slow_wait, name
    store = "sqlite:////var/lib/myapp/quota.db"  # or "redis://host:6379/0": one quota for all processes
    store_lost = "share"           # or "open", "closed": what is done while it cannot be reached

    [quota]                        # the default of every scope
    rpm = 500
    tpm = 200_000
    concurrency = 16

    [quotas."openai/gpt-4o-mini"]  # by provider and model pattern
    rpm = 5000
    limits = [{ dimension = "tokens", amount = 2_000_000, per = "minute", burst = 500_000 }]

    [accounts.openai]              # all models of one account together
    rpd = 10_000

    [families]                     # models that share one limit
    gpt-4o = ["openai/gpt-4o", "openai/gpt-4o-2024-*"]

    [tenants.acme]                 # a tenant's cap
    tpm = 50_000

    [weights]                      # shares in the queue
    acme = 2.0

    [retry]                        # when failed model calls are tried again; `retry = false` for never
    attempts = 10
    timeout = 120                  # seconds; also wait_initial, wait_max
    jitter = "full"

    [[budgets]]                    # ceilings for all calls; the settings of ratekeeper.Budget
    usd = 20
    per = "day"
    by = "tenant"

    prices = "prices.toml"         # your own prices; costs = "sqlite:///costs.db" keeps the ledger in a file

Environment: RATEKEEPER_CONFIG names the file; RATEKEEPER_RPM, RATEKEEPER_TPM, RATEKEEPER_CONCURRENCY and so
on set single keys of [quota]; RATEKEEPER_HEADROOM, _LEASE_TTL, _TIMEOUT, _SLOW_WAIT, _STORE and _STORE_LOST the rest. The
environment wins over the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

from . import checks
from ._core import Limit, Quota, RetryPolicy
from .errors import ConfigError

if TYPE_CHECKING:
    from .budgets.budget import Budget
    from .status import StorePolicy

T = TypeVar("T")

DEFAULT_FILE = "ratekeeper.toml"
_PREFIX = "RATEKEEPER_"
#: rps, rpm, … itpd, otpd: requests, total, input and output tokens per second, minute, hour and day.
RATES = tuple(f"{what}p{period}" for what in ("r", "t", "it", "ot") for period in "smhd")
_QUOTA_KEYS = (*RATES, "concurrency", "limits")
_RETRY_KEYS = ("attempts", "timeout", "wait_initial", "wait_max", "jitter")
_BUDGET_KEYS = ("usd", "tokens", "calls", "seconds", "per", "tz", "by", "tags", "warn_at", "name")
_LIMIT_KEYS = ("dimension", "amount", "per", "burst")
_SECONDS = ("headroom", "lease_ttl", "timeout", "slow_wait")
_TEXTS = ("store", "store_lost")
#: What Kubernetes sets for a service named ratekeeper begins with these.
_KUBERNETES = ("SERVICE_", "PORT")


class Settings(TypedDict, total=False):
    """What a file and the environment set; the rest keeps the Keeper's defaults."""

    name: str
    quota: Quota
    quotas: dict[str, Quota]
    accounts: dict[str, Quota]
    families: dict[str, tuple[str, ...]]
    tenants: dict[str, Quota]
    weights: dict[str, float]
    headroom: float
    lease_ttl: float
    timeout: float
    slow_wait: float
    retry: RetryPolicy | None
    budgets: list[Budget]
    prices: str
    costs: str
    store: str
    store_lost: StorePolicy


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file, with the environment's on top.

    Args:
        path: The file; None takes RATEKEEPER_CONFIG, else `ratekeeper.toml` in the working directory if there
            is one.
        environ: The environment; None takes the process's own.

    Raises:
        ConfigError: The file is missing, unreadable or no TOML, or a setting is wrong; the message names its
            full key.
    """
    environ = os.environ if environ is None else environ
    document = _read(path, environ)
    _overlay(document, environ)
    return parse(document)


def parse(document: Mapping[str, Any]) -> Settings:
    """The settings of a document as read from TOML.

    Raises:
        ConfigError: A key is unknown or a value is wrong.
    """
    checks.known(document, Settings.__annotations__, "")
    return cast("Settings", {name: _PARSERS[name](value, name) for name, value in document.items()})


def quota(value: object, field: str) -> Quota:
    """A Quota of a table such as ``{rpm = 500, tpm = 200_000}``.

    Raises:
        ConfigError: A key is unknown, a value is wrong, or nothing is limited.
    """
    keys = checks.table(value, field)
    checks.known(keys, _QUOTA_KEYS, field)
    if not keys:
        checks.fail(field, "at least one of rpm, tpm, concurrency, …", value)
    rates = {name: checks.whole(keys[name], f"{field}.{name}") for name in RATES if name in keys}
    concurrency = keys.get("concurrency")
    if concurrency is not None:
        concurrency = checks.whole(concurrency, f"{field}.concurrency", maximum=checks.MAX_CONCURRENCY)
    limits = _limits(keys.get("limits", []), f"{field}.limits")
    return _named(field, lambda: Quota(*limits, concurrency=concurrency, **rates))


def _limits(value: object, field: str) -> list[Limit]:
    if not isinstance(value, list):
        checks.fail(
            field, 'a list of tables such as [{ dimension = "tokens", amount = 1000, per = "minute" }]', value
        )
    return [_limit(entry, f"{field}[{i}]") for i, entry in enumerate(value)]


def _limit(value: object, field: str) -> Limit:
    keys = checks.table(value, field)
    checks.known(keys, _LIMIT_KEYS, field)
    for required in ("dimension", "amount"):
        if required not in keys:
            raise ConfigError(f"{field}.{required}: is missing", field=f"{field}.{required}")
    amount = checks.whole(keys["amount"], f"{field}.amount")
    burst = keys.get("burst")
    if burst is not None:
        burst = checks.whole(burst, f"{field}.burst")
    per = keys.get("per", "minute")
    if isinstance(per, bool) or not isinstance(per, str | int | float):
        checks.fail(f"{field}.per", "second, minute, hour, day, or seconds as a number", per)
    return _named(field, lambda: Limit(keys["dimension"], amount, per, burst=burst))


def _named(field: str, make: Callable[[], T]) -> T:
    """Puts the full name before what the core says of a value."""
    try:
        return make()
    except ConfigError as error:
        where = f"{field}.{error.field}"
        raise ConfigError(f"{field}.{error}", field=where) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{field}: {error}", field=field) from error


def _quotas(value: object, field: str) -> dict[str, Quota]:
    entries = checks.table(value, field)
    for pattern in entries:
        checks.quota_pattern(pattern, field)
    return _by_name(entries, field)


def _by_name(value: object, field: str) -> dict[str, Quota]:
    return {
        name: quota(entry, f"{field}.{checks.quoted(name)}")
        for name, entry in checks.table(value, field).items()
    }


def _retry(value: object, field: str) -> RetryPolicy | None:
    """A RetryPolicy of a table such as ``{attempts = 5}``; None of false."""
    if value is False:
        return None
    keys = checks.table(value, field)
    checks.known(keys, _RETRY_KEYS, field)
    return _named(field, lambda: RetryPolicy(**keys))


def _budgets(value: object, field: str) -> list[Budget]:
    from .budgets.budget import Budget  # noqa: PLC0415 (only where there are budgets)

    if not isinstance(value, list):
        checks.fail(field, "tables, each [[budgets]]", value)
    found = []
    for place, entry in enumerate(value):
        keys = checks.table(entry, f"{field}[{place}]")
        checks.known(keys, _BUDGET_KEYS, f"{field}[{place}]")
        found.append(_named(f"{field}[{place}]", partial(Budget, **keys)))
    return found


_PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "name": checks.text,
    "quota": quota,
    "quotas": _quotas,
    "accounts": _by_name,
    "families": checks.families,
    "tenants": _by_name,
    "weights": checks.weights,
    "headroom": lambda value, field: checks.seconds(value, field, zero=True),
    "lease_ttl": checks.seconds,
    "timeout": checks.seconds,
    "slow_wait": checks.seconds,
    "retry": _retry,
    "budgets": _budgets,
    "prices": checks.text,
    "costs": checks.text,
    "store": checks.text,
    "store_lost": checks.store_lost,
}


def _read(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 (only where there is a file to read)
    else:
        import tomli as tomllib  # noqa: PLC0415

    chosen, field = path or environ.get(f"{_PREFIX}CONFIG"), "path" if path else f"{_PREFIX}CONFIG"
    if not chosen:
        if not os.path.exists(DEFAULT_FILE):
            return {}
        chosen = field = DEFAULT_FILE
    try:
        with open(chosen, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"{field}: cannot read {os.fspath(chosen)}: {error.strerror}", field=field
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{field}: {os.fspath(chosen)} is no valid TOML: {error}", field=field) from error


def _overlay(document: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Writes the environment's settings over the file's."""
    _refuse_misspelt(environ)
    rates = {}
    for key in (*RATES, "concurrency"):
        value = environ.get(_PREFIX + key.upper())
        if value:
            most = checks.MAX_CONCURRENCY if key == "concurrency" else checks.MAX_AMOUNT
            rates[key] = checks.whole(_number(value, int), _PREFIX + key.upper(), maximum=most)
    if rates:
        document["quota"] = {**checks.table(document.get("quota", {}), "quota"), **rates}
    for key in _SECONDS:
        value = environ.get(_PREFIX + key.upper())
        if value:
            document[key] = checks.seconds(
                _number(value, float), _PREFIX + key.upper(), zero=key == "headroom"
            )
    for key in _TEXTS:
        if environ.get(_PREFIX + key.upper()):
            document[key] = environ[_PREFIX + key.upper()]


def _number(value: str, kind: Callable[[str], float]) -> object:
    """The number a text stands for, or the text itself for the check that follows to refuse."""
    try:
        return kind(value)
    except ValueError:
        return value


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Refuses variables that look like ours misspelt.

    Others are left alone: Kubernetes sets RATEKEEPER_PORT and the like for a service of that name.
    """
    ours = [key.upper() for key in (*RATES, "concurrency", "config", *_TEXTS, *_SECONDS)]
    for name in environ:
        suffix = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and suffix not in ours and not suffix.startswith(_KUBERNETES):
            near = checks.nearest(suffix, ours)
            if near is not None:
                raise ConfigError(f"{name}: no such setting; did you mean {_PREFIX}{near}?", field=name)
