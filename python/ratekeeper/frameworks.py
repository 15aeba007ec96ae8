"""What a keeper does with the objects of frameworks.

Owns the arguments of a wrap. Which adapter takes an object is `adapters`' business; may not import a framework.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from . import adapters, checks
from .gate import Options

if TYPE_CHECKING:
    from .adapters.audit import Audited
    from .keeper import Keeper

T = TypeVar("T")

Seconds = float | timedelta
_PRIORITIES = range(-10, 11)


class Frameworks:
    """The part of a `Keeper` that knows there are frameworks."""

    def wrap(
        self,
        obj: T,
        *,
        tenant: str | None = None,
        priority: int = 0,
        timeout: Seconds | None = None,
        agent: str | None = None,
        account: str | None = None,
        stream_usage: bool = True,
    ) -> T:
        """A drop-in for `obj`, still of its own class, whose calls all wait for this keeper's quotas.

        The SDK's own retries are off under the wrap. `obj` itself stays as it is.

        Args:
            obj: A LangChain chat model, a CrewAI LLM, an AutoGen llm_config or model client, an SDK's client, a LiteLLM
                Router, or an HTTP client of httpx.
            tenant: Whose calls these are; None takes the tenant of `ratekeeper.tags` at each call.
            priority: From -10 to 10; larger goes first, without starving the others.
            timeout: Seconds a call waits for its turn, in place of the keeper's; then QuotaExceededError.
            agent: Who calls, for estimates and reports; None takes the agent of `ratekeeper.tags`.
            account: A name for the account in place of its key's fingerprint: two keys of one project then
                share one quota.
            stream_usage: Whether streams are made to carry usage; False for servers that reject the option.

        Raises:
            TypeError: Objects of this type cannot be wrapped; the message says which can.
            ConfigError: An argument is wrong.
        """
        options = _options(
            tenant=tenant,
            priority=priority,
            timeout=timeout,
            agent=agent,
            account=account,
            stream_usage=stream_usage,
        )
        return adapters.wrap(obj, _keeper(self), options)

    def wrap_crew(self, crew: T, **options: Any) -> T:
        """A CrewAI crew whose every model goes through this keeper: agents, manager, planning, memory and the rest.

        Args:
            crew: A crewai.Crew.
            **options: As of `wrap`.

        Raises:
            TypeError: It is no crew.
            ConfigError: It has a model that cannot be wrapped, or an argument is wrong.
        """
        from .adapters import crewai  # noqa: PLC0415 (a framework)

        return crewai.wrap_crew(crew, _keeper(self), _options(**options))

    def crewai_llm(self, chat_model: Any, **options: Any) -> Any:
        """A LangChain chat model as a CrewAI LLM, under this keeper.

        Args:
            chat_model: A LangChain chat model, wrapped or not.
            **options: As of `wrap`.

        Raises:
            TypeError: It is no chat model.
        """
        from .adapters.crewai.bridge import crewai_llm  # noqa: PLC0415 (a framework)

        return crewai_llm(chat_model, _keeper(self), _options(**options))

    def litellm(self, **options: Any) -> Any:
        """LiteLLM's functions (`completion`, `acompletion`, …) under this keeper.

        Args:
            **options: As of `wrap`.
        """
        from .adapters import litellm  # noqa: PLC0415 (a framework)

        return litellm.bound(_keeper(self), _options(**options))

    def audit(self, obj: Any) -> list[Audited]:
        """Every model that is reachable from an object (a crew, an agent, a team, a config, a client), wrapped or not.

        Raises:
            TypeError: Objects of this type cannot be looked through; the message says which can.
        """
        return adapters.audited(obj)


def _keeper(part: Frameworks) -> Keeper:
    return part  # type: ignore[return-value]


def _options(
    *,
    tenant: str | None = None,
    priority: int = 0,
    timeout: Seconds | None = None,
    agent: str | None = None,
    account: str | None = None,
    stream_usage: bool = True,
) -> Options:
    if account is not None and ("/" in account or not account):
        checks.fail("account", 'a name without "/"', account)
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in _PRIORITIES:
        checks.fail("priority", "a whole number from -10 to 10", priority)
    for field, value in (("tenant", tenant), ("agent", agent)):
        if value is not None and not isinstance(value, str):
            checks.fail(field, "a text", value)
    wait = None if timeout is None else checks.seconds(timeout, "timeout")
    return Options(tenant, priority, wait, agent, account, stream_usage)
