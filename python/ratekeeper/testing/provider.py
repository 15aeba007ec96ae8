"""The fake provider as its users hold it.

Owns the life of one server, in a thread or a process, and the questions asked of it. Every question goes over
HTTP, so it means the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ratekeeper.testing.child import ServerProcess
from ratekeeper.testing.client import FakeProviderError, ask
from ratekeeper.testing.limits import QuotaChange, Use
from ratekeeper.testing.report import Report, fingerprint
from ratekeeper.testing.settings import Fault, Reply, Settings

if TYPE_CHECKING:
    from types import TracebackType

    from ratekeeper.testing.server import ServerThread


@dataclass(kw_only=True)
class FakeProvider(Settings):
    """A local server that answers, counts and refuses like OpenAI, Azure, Anthropic, Gemini, Bedrock, Groq and Mistral.

    Use it as a context manager, or call ``start`` and ``stop``. It serves all vendors at once; a quota is
    kept per API key (on Bedrock, access key id) and model (or Azure deployment), and any key is accepted. All
    settings are keywords, described in ``Settings`` and ``Limits``.

    Attributes:
        host: Where to listen.
        port: The port; 0 lets the system choose, and it is then known after the start.
        process: Serve from a process of its own, so that the interpreter lock of the program under test does
            not distort the timing; otherwise from a thread.

    Raises:
        ConfigError: A setting is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = 0
    process: bool = False
    _server: ServerThread | ServerProcess | None = field(default=None, init=False, repr=False)

    @classmethod
    def spawn(cls, **settings: Any) -> FakeProvider:
        """A provider, not yet started, that will serve from a process of its own."""
        return cls(**settings, process=True)

    def start(self) -> FakeProvider:
        """Start, and return when it answers.

        Raises:
            FakeProviderError: It runs already, its address is taken, or the extra ``ratekeeper[testing]`` is
            missing.
        """
        if self._server is not None:
            raise FakeProviderError("the fake provider runs already")
        try:
            server = self._make_server()
            server.start()
        except ImportError as error:
            needs = f"the fake provider needs an extra (no module {error.name})"
            raise FakeProviderError(f"{needs}: pip install 'ratekeeper[testing]'") from error
        except OSError as error:
            raise FakeProviderError(f"cannot listen on {self.host}:{self.port}: {error}") from error
        self._server = server
        return self

    def stop(self) -> None:
        """Stop and wait until no thread or process of it is left; what still runs is cut off."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> FakeProvider:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The root, without a slash at the end."""
        return f"http://{self.host}:{self._running().port}"

    @property
    def openai_url(self) -> str:
        """``base_url`` of OpenAI's SDK, and of most that speak its API."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """``base_url`` of Anthropic's SDK."""
        return self.url

    @property
    def azure_url(self) -> str:
        """``azure_endpoint`` of OpenAI's SDK; with ``/openai/v1``, ``base_url`` of the v1 API."""
        return self.url

    @property
    def azure_inference_url(self) -> str:
        """``endpoint`` of azure-ai-inference, as of an Azure AI resource.

        An Azure OpenAI deployment is at ``azure_url`` with ``/openai/deployments/{name}``.
        """
        return f"{self.url}/models"

    @property
    def gemini_url(self) -> str:
        """``base_url`` in the ``http_options`` of google-genai."""
        return self.url

    @property
    def bedrock_url(self) -> str:
        """``endpoint_url`` of botocore's ``bedrock-runtime`` clients."""
        return self.url

    @property
    def groq_url(self) -> str:
        """``base_url`` of OpenAI's SDK for Groq; Groq's own takes it without ``/openai/v1``."""
        return f"{self.url}/groq/openai/v1"

    @property
    def mistral_url(self) -> str:
        """``base_url`` of what speaks OpenAI's API, for Mistral; Mistral's own SDK takes it without ``/v1``."""
        return f"{self.url}/mistral/v1"

    def report(self, *, timeline: bool = True) -> Report:
        """What was seen so far.

        Args:
            timeline: Bring every single request too.
        """
        return Report.from_json(self._ask("GET", f"/_report?timeline={int(timeline)}"))

    def reset(self) -> None:
        """Start anew: full quotas, the faults and replies of the settings, an empty record, time 0."""
        self._ask("POST", "/_reset")

    def set_limits(
        self,
        model: str = "*",
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        itpm: float | None = None,
        otpm: float | None = None,
        concurrency: int | None = None,
        rpd: float | None = None,
        project_tpm: float | None = None,
    ) -> None:
        """Cut or raise limits now; what was used stays used.

        Args:
            model: Whose limits; a shell pattern.
            rpm: The new limit, likewise the others. None leaves it.
            tpm: Tokens.
            itpm: Input tokens.
            otpm: Output tokens.
            concurrency: Calls at once.
            rpd: Requests a day.
            project_tpm: The project's tokens.

        Raises:
            ConfigError: A limit is negative or not finite.
        """
        change = QuotaChange(
            model=model,
            rpm=rpm,
            tpm=tpm,
            itpm=itpm,
            otpm=otpm,
            concurrency=concurrency,
            rpd=rpd,
            project_tpm=project_tpm,
        )
        self._ask("POST", "/_limits", asdict(change))

    def use(
        self,
        model: str = "*",
        *,
        key: str | None = None,
        requests: float = 0,
        tokens: float = 0,
        input_tokens: float = 0,
        output_tokens: float = 0,
    ) -> None:
        """Let somebody else who shares the quota use some of it now, without a request in the report.

        They get what is left at most. A key and model that nobody has called yet has it used all the same.

        Args:
            model: Of which models or deployments; a shell pattern.
            key: Whose API key; None for every key. Only its fingerprint leaves this method.
            requests: How many requests.
            tokens: Tokens of ``tpm`` and ``project_tpm``.
            input_tokens: Tokens of ``itpm``.
            output_tokens: Tokens of ``otpm``.

        Raises:
            ConfigError: An amount is negative or not finite.
        """
        use = Use(
            model=model,
            key=None if key is None else fingerprint(key),
            requests=requests,
            tokens=tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        self._ask("POST", "/_use", asdict(use))

    def set_faults(self, *faults: Fault) -> None:
        """Put these faults in place of those that were; none at all ends all faults."""
        self._ask("POST", "/_faults", [asdict(fault) for fault in faults])

    def script(self, *replies: Reply) -> None:
        """Add replies after those still to be given."""
        self._ask("POST", "/_replies", [asdict(reply) for reply in replies])

    def _make_server(self) -> ServerThread | ServerProcess:
        settings = Settings(**{f.name: getattr(self, f.name) for f in fields(Settings)})
        if self.process:
            return ServerProcess(settings, self.host, self.port)
        from ratekeeper.testing.server import ServerThread  # noqa: PLC0415  (an extra)

        return ServerThread(settings, self.host, self.port)

    def _running(self) -> ServerThread | ServerProcess:
        if self._server is None:
            raise FakeProviderError("the fake provider does not run: use `with FakeProvider(...)` or start()")
        return self._server

    def _ask(self, method: str, path: str, body: Sequence[Any] | dict[str, Any] | None = None) -> Any:
        return ask(self.host, self._running().port, method, path, body)
