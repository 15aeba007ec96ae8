"""One request from its arrival to its last byte.

Owns the order of things: read, fault, quota, latency, answer, record. A request is off the record's list of
running ones before its last byte goes out, so that a client that has its answer never finds itself still
counted. Vendors and formats come from ``wire``; the way to the client is a ``Line``.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field, replace

from ratekeeper.testing.answers import compose, prompt_rng
from ratekeeper.testing.line import ClientLeftError, Line, StreamCutError
from ratekeeper.testing.quotas import Account
from ratekeeper.testing.report import Entry, Outcome, Recorder, fill, fingerprint
from ratekeeper.testing.settings import Fault, Reply
from ratekeeper.testing.state import State
from ratekeeper.testing.usage import Usage
from ratekeeper.testing.wire.call import (
    Answer,
    BadRequestError,
    Call,
    Event,
    Format,
    Headers,
    Problem,
    ProblemKind,
    Vendor,
)

_REFUSING: tuple[ProblemKind, ...] = ("rate_limit", "slow_down", "ramp_limit", "insufficient_quota")
_FAILING: tuple[ProblemKind, ...] = ("overloaded", "server_error", "model_error", "unavailable")
#: How SDKs tell which attempt of theirs it is: botocore counts from 1, the Stainless SDKs count retries.
_BOTO_ATTEMPT = re.compile(r"\battempt=(\d{1,4})")


@dataclass
class Visit:
    """A request on the books, ended exactly once."""

    entry: Entry
    recorder: Recorder
    account: Account | None = None
    ended: bool = False

    def admit(self, account: Account) -> None:
        """It may start."""
        self.account = account
        account.in_flight += 1
        self.recorder.begin(self.entry)

    def end(self, status: int, outcome: Outcome, now: float) -> None:
        """It is over; later calls change nothing."""
        if self.ended:
            return
        self.ended = True
        if self.account is not None:
            self.account.in_flight -= 1
            self.recorder.finish(self.entry)
        self.recorder.leave(self.entry, status, outcome, now)


@dataclass
class Exchange:
    """One request of one vendor's API.

    Attributes:
        state: The provider's state.
        vendor: Whose keys, quotas, headers and errors.
        format: Whose bodies.
        line: The way to the client.
        headers: The request's headers, in lower case; `:path` has path and query where there is a query.
    """

    state: State
    vendor: Vendor
    format: Format
    line: Line
    headers: Headers
    ident: int = field(init=False)

    def __post_init__(self) -> None:
        self.ident = self.state.next_ident()

    async def run(self, raw: bytes, deployment: str | None) -> None:
        """Answer a request with the body ``raw``.

        Raises:
            StreamCutError: A fault wants the connection closed.
        """
        read = self._read(raw, deployment)
        call = read if isinstance(read, Call) else None
        visit = self._arrive(call)
        try:
            if isinstance(read, Problem):
                await self._refuse(visit, read, "")
            else:
                await self._serve(visit, read)
        except ClientLeftError:
            if call is not None:
                self._settle(visit, call, Usage(call.prompt.estimate, visit.entry.output))
            visit.end(0, "disconnected", self.state.clock())
        finally:
            visit.end(500, "failed", self.state.clock())
            self.line.close()

    def _read(self, raw: bytes, deployment: str | None) -> Call | Problem:
        if self.vendor.key(self.headers) is None:
            return Problem("authentication")
        try:
            body = json.loads(raw)
            if not isinstance(body, dict):
                raise BadRequestError(
                    "We could not parse the JSON body of your request: an object was expected."
                )
            return self.format.read(body, deployment)
        except BadRequestError as error:
            return Problem("bad_request", str(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Problem("bad_request", f"We could not parse the JSON body of your request: {error!r}.")

    def _arrive(self, call: Call | None) -> Visit:
        entry = Entry(
            at=self.state.clock(),
            key=fingerprint(self.vendor.key(self.headers) or ""),
            model=call.model if call else "",
            api=self.format.api,
            stream=bool(call and call.stream),
            attempt=_attempt(self.headers),
        )
        visit = Visit(entry, self.state.recorder)
        visit.recorder.arrive(entry)
        return visit

    async def _serve(self, visit: Visit, call: Call) -> None:
        state, now = self.state, visit.entry.at
        account = state.quotas.account(visit.entry.key, call.model, self.vendor.algorithm, now)
        fault = state.faults.next(call.model, now - state.started)
        problem = _problem(fault, _REFUSING) or self._over_quota(visit, call, account)
        if problem is None:
            visit.admit(account)
            problem = _problem(fault, _FAILING)
            if problem:
                self._settle(visit, call, Usage(call.prompt.estimate, 0))
        if problem:
            await self._refuse(visit, problem, call.model, account)
            return
        reply = state.script.take(call.prompt.last)
        try:
            answer = compose(call, reply, state.settings, self.ident, int(time.time()))
        except BadRequestError as error:
            await self._refuse(visit, Problem("bad_request", str(error)), call.model, account)
            return
        self._correct_input(account, call, answer.usage)
        await self._answer(visit, call, answer, self._latency(call, reply, fault), fault)

    def _over_quota(self, visit: Visit, call: Call, account: Account) -> Problem | None:
        amounts = self.vendor.amounts(call)
        refusal = account.admit(amounts, visit.entry.at)
        if refusal is None:
            visit.entry.admitted = amounts["tokens"]
            return None
        return Problem("rate_limit", retry_after=refusal.retry_after, refusal=refusal)

    async def _refuse(
        self, visit: Visit, problem: Problem, model: str, account: Account | None = None
    ) -> None:
        visit.entry.retry_after = problem.retry_after
        if not self.state.settings.hints:
            problem = replace(problem, retry_after=None)
        status, body = self.vendor.error(problem, model, self.ident)
        headers = {**self._head(account), **self.vendor.error_headers(problem)}
        if self.state.settings.headers:
            headers.update(self.vendor.retry_headers(problem))
        visit.end(status, "refused" if status < 500 else "failed", self.state.clock())
        await self.line.answer(status, headers, json.dumps(body).encode())

    async def _answer(
        self, visit: Visit, call: Call, answer: Answer, latency: float, fault: Fault | None
    ) -> None:
        cut = fault if fault and fault.kind == "broken_stream" else None
        if call.stream:
            await self.line.pause(latency)
            await self._stream(visit, call, answer, cut)
            return
        await self.line.pause(latency + answer.usage.output * self.state.settings.token_latency)
        body = json.dumps(self.format.write(call, answer)).encode()
        self._produce(visit, answer.usage.output)
        self._settle(visit, call, answer.usage)
        fill(visit.entry, answer.usage, answer.usage.output)
        visit.end(200, "cut" if cut else "answered", self.state.clock())
        headers = self._head(visit.account)
        if cut:
            await self._cut_body(headers, body)
        await self.line.answer(200, headers, body)

    async def _cut_body(self, headers: dict[str, str], body: bytes) -> None:
        await self.line.start(
            200, {"content-type": "application/json", "content-length": str(len(body)), **headers}
        )
        await self.line.chunk(body[: len(body) // 2])
        raise StreamCutError

    async def _stream(self, visit: Visit, call: Call, answer: Answer, cut: Fault | None) -> None:
        settings = self.state.settings
        events = list(self.format.events(call, answer, settings.stream_tokens))
        head = {"content-type": call.media, "cache-control": "no-cache"}
        await self.line.start(200, {**head, **self._head(visit.account)})
        if cut:
            events = events[: len(events) // 2 if cut.after_events is None else cut.after_events]
        if not settings.token_latency:  # nothing to wait for in between: one write instead of many
            events = [Event(b"".join(e.data for e in events), sum(e.tokens for e in events))]
        sent = 0
        for event in events[: len(events) if cut else -1]:
            if event.tokens and settings.token_latency:
                fill(visit.entry, answer.usage, sent)
                await self.line.pause(event.tokens * settings.token_latency)
            sent += event.tokens
            self._produce(visit, event.tokens)
            await self.line.chunk(event.data)
        if cut:
            self._settle(visit, call, replace(answer.usage, output=sent))
            fill(visit.entry, answer.usage, sent)
            visit.end(200, "cut", self.state.clock())
            raise StreamCutError
        self._produce(visit, answer.usage.output - sent)
        self._settle(visit, call, answer.usage)
        fill(visit.entry, answer.usage, answer.usage.output)
        visit.end(200, "answered", self.state.clock())
        await self.line.chunk(events[-1].data, last=True)

    def _produce(self, visit: Visit, tokens: int) -> None:
        if visit.account and tokens:
            total = tokens if self.vendor.total_as_produced else 0
            visit.account.charge({"output": tokens, "tokens": total}, self.state.clock())

    def _settle(self, visit: Visit, call: Call, usage: Usage) -> None:
        """Where a vendor counts anew at the end, charge what it counts beyond the start, or give back."""
        counted = self.vendor.settled(call, usage)
        if visit.account and counted is not None:
            visit.account.charge({"tokens": counted - visit.entry.admitted}, self.state.clock())

    def _correct_input(self, account: Account, call: Call, usage: Usage) -> None:
        free = usage.cached if self.vendor.cached_is_free else 0
        off = usage.input - free - call.prompt.estimate
        total = off if self.vendor.total_as_produced else 0
        account.charge({"input": off, "tokens": total}, self.state.clock())

    def _latency(self, call: Call, reply: Reply | None, fault: Fault | None) -> float:
        settings = self.state.settings
        latency = settings.latency
        if settings.latency_jitter:
            latency *= 1 + settings.latency_jitter * prompt_rng(settings, call).uniform(-1, 1)
        if reply and reply.latency is not None:
            latency = reply.latency
        return latency + (fault.delay if fault and fault.kind == "slow" else 0.0)

    def _head(self, account: Account | None) -> dict[str, str]:
        headers = self.vendor.ident_headers(self.ident)
        if account and self.state.settings.headers:
            headers.update(self.vendor.limit_headers(account, self.state.clock(), time.time()))
        return headers


def _attempt(headers: Headers) -> int:
    if told := _BOTO_ATTEMPT.search(headers.get("amz-sdk-request", "")):
        return int(told[1])
    retries = headers.get("x-stainless-retry-count", "0")
    return int(retries) + 1 if retries.isdecimal() else 1


def _problem(fault: Fault | None, kinds: tuple[ProblemKind, ...]) -> Problem | None:
    for kind in kinds:
        if fault and fault.kind == kind:
            return Problem(kind, retry_after=fault.retry_after)
    return None
