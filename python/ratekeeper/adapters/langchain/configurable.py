"""What `init_chat_model` returns when the model is chosen per call.

Owns the limited twin of `_ConfigurableModel`: no chat model itself, it builds one per call. May not decide
anything.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import subclass

if TYPE_CHECKING:
    from ratekeeper.gate import Gate


class _Limiting:
    """Before `_ConfigurableModel` in the MRO: limits each model that it builds, before queued operations.

    The base hands on what it was told (queued operations, configs) in new plain objects, which are limited
    again here.
    """

    _ratekeeper_gate: Gate
    _queued_declarative_operations: list[tuple[str, tuple[Any, ...], dict[str, Any]]]

    def _model(self, config: Any = None) -> Any:
        plain = _copy(self, _plain(type(self)), queued_declarative_operations=())
        model = subclass.limit(plain._model(config), self._ratekeeper_gate)
        for name, args, kwargs in self._queued_declarative_operations:
            model = getattr(model, name)(*args, **kwargs)
        return model

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)  # type: ignore[misc]
        if name not in sys.modules[_plain(type(self)).__module__]._DECLARATIVE_METHODS:
            return found
        return lambda *args, **kwargs: limit_configurable(found(*args, **kwargs), self._ratekeeper_gate)

    def with_config(self, config: Any = None, **kwargs: Any) -> Any:
        return limit_configurable(super().with_config(config, **kwargs), self._ratekeeper_gate)  # type: ignore[misc]

    def __reduce__(self) -> tuple[Any, ...]:
        plain = _plain(type(self))
        return _restore, (plain, _parts(self), self._ratekeeper_gate)


def limit_configurable(model: Any, gate: Gate) -> Any:
    """A limited twin of a configurable model; the model itself is left as it is."""
    plain = _plain(type(model)) if isinstance(model, _Limiting) else type(model)
    limited = _copy(model, _limiting(plain))
    limited._ratekeeper_gate = gate
    return limited


def gate_of_configurable(model: Any) -> Gate | None:
    """The gate of a configurable model that is already limited, else None."""
    return model._ratekeeper_gate if isinstance(model, _Limiting) else None


@lru_cache(maxsize=8)
def _limiting(plain: type) -> type:
    names = {"__module__": plain.__module__, "__qualname__": plain.__qualname__, "__doc__": plain.__doc__}
    return type(plain.__name__, (_Limiting, plain), names)


def _plain(limiting: type) -> type:
    return limiting.__mro__[2]


def _parts(model: Any) -> dict[str, Any]:
    return {
        "default_config": model._default_config,
        "configurable_fields": model._configurable_fields,
        "config_prefix": model._config_prefix,
        "queued_declarative_operations": model._queued_declarative_operations,
    }


def _copy(model: Any, kind: type, **changes: Any) -> Any:
    """The same configuration in an object of another class."""
    return kind(**{**_parts(model), **changes})


def _restore(plain: type, parts: dict[str, Any], gate: Gate) -> Any:
    return limit_configurable(plain(**parts), gate)
