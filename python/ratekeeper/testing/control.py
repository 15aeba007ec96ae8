"""What is asked of the fake provider itself: its report, changes while it runs, model lists.

Owns the paths that start with ``/_`` and the model lists. Loaded only when a provider starts, since it
imports Starlette.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request  # noqa: TID253
from starlette.responses import JSONResponse, Response  # noqa: TID253
from starlette.routing import BaseRoute, Route  # noqa: TID253

from ratekeeper.testing.limits import QuotaChange, Use
from ratekeeper.testing.settings import Fault, reply_from_json
from ratekeeper.testing.state import State
from ratekeeper.testing.wire import converse, generate
from ratekeeper.testing.wire.anthropic import model_list as anthropic_models
from ratekeeper.testing.wire.messages import Messages
from ratekeeper.testing.wire.openai import model_list as openai_models

Handler = Callable[[Request], Awaitable[Response]]
_EMPTY = 204
#: Where Gemini's models are: `v1beta`, or another version.
MODELS = "/{version}/models/{deployment}"


def _checked(handler: Handler) -> Handler:
    """Answer 400 with the reason where a body is not what was expected."""

    async def checked(request: Request) -> Response:
        try:
            return await handler(request)
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return checked


class Control:
    """The handlers over one provider's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def report(self, request: Request) -> Response:
        """``GET /_report``: what was seen; ``?timeline=0`` leaves the timeline out."""
        report = self._state.recorder.report(self._state.clock())
        if request.query_params.get("timeline") == "0":
            report["timeline"] = []
        return JSONResponse(report)

    async def reset(self, request: Request) -> Response:  # noqa: ARG002
        """``POST /_reset``: full quotas, empty record, time 0."""
        self._state.reset()
        return Response(status_code=_EMPTY)

    async def limits(self, request: Request) -> Response:
        """``POST /_limits``: a quota change as JSON, in force at once."""
        change = QuotaChange(**await request.json())
        self._state.quotas.change(change, self._state.clock())
        return Response(status_code=_EMPTY)

    async def use(self, request: Request) -> Response:
        """``POST /_use``: what somebody else used, as JSON, charged at once."""
        self._state.quotas.use(Use(**await request.json()), self._state.clock())
        return Response(status_code=_EMPTY)

    async def faults(self, request: Request) -> Response:
        """``POST /_faults``: a list of faults in place of those that were."""
        self._state.faults.replace([Fault(**raw) for raw in await request.json()])
        return Response(status_code=_EMPTY)

    async def replies(self, request: Request) -> Response:
        """``POST /_replies``: a list of replies after those still to be given."""
        self._state.script.add([reply_from_json(raw) for raw in await request.json()])
        return Response(status_code=_EMPTY)

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``, in the form of the SDK that asks."""
        write = anthropic_models if "anthropic-version" in request.headers else openai_models
        return JSONResponse(write(list(self._state.quotas.models())))

    async def count(self, request: Request) -> Response:
        """``POST /v1/messages/count_tokens``."""
        return JSONResponse({"input_tokens": Messages().prompt(await request.json()).tokens})

    async def count_gemini(self, request: Request) -> Response:
        """``POST …:countTokens``: of contents, or of a whole request."""
        body = await request.json()
        prompt = generate.read_prompt(generate.pick(body, "generateContentRequest") or body)
        return JSONResponse({"totalTokens": prompt.tokens})

    async def count_bedrock(self, request: Request) -> Response:
        """``POST /model/{modelId}/count-tokens``."""
        body = await request.json()
        return JSONResponse({"inputTokens": converse.read_prompt(body["input"]["converse"]).tokens})


def control_routes(state: State) -> list[BaseRoute]:
    """The routes beside those of the models."""
    control = Control(state)
    return [
        Route("/_report", control.report, methods=["GET"]),
        Route("/_reset", control.reset, methods=["POST"]),
        Route("/_limits", _checked(control.limits), methods=["POST"]),
        Route("/_use", _checked(control.use), methods=["POST"]),
        Route("/_faults", _checked(control.faults), methods=["POST"]),
        Route("/_replies", _checked(control.replies), methods=["POST"]),
        Route("/v1/models", control.models, methods=["GET"]),
        Route("/openai/v1/models", control.models, methods=["GET"]),
        Route("/groq/openai/v1/models", control.models, methods=["GET"]),
        Route("/v1/messages/count_tokens", _checked(control.count), methods=["POST"]),
        Route(f"{MODELS}:countTokens", _checked(control.count_gemini), methods=["POST"]),
        Route("/model/{model:path}/count-tokens", _checked(control.count_bedrock), methods=["POST"]),
    ]
