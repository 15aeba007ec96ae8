"""Which exception of a chain tells what failed, and what no exception may do to the one who reads it."""

import asyncio
import concurrent.futures
import http.client
import pickle
import socket
import ssl
import time
import urllib.error
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapes import Headers, litellm, named, openai, raised_from, raw

import ratekeeper as rk
from ratekeeper.providers.failure import Failure, classify

NOW = 1_795_251_600.0

# --- without an answer --------------------------------------------------------------------------------------

ConnectError = named("ConnectError", named("NetworkError", named("TransportError")))
ConnectTimeout = named("ConnectTimeout", named("TimeoutException", named("TransportError")))
ReadTimeout = named("ReadTimeout", named("TimeoutException", named("TransportError")))
APIConnectionError = named("APIConnectionError")
APITimeoutError = named("APITimeoutError", APIConnectionError)
NewConnectionError = named("NewConnectionError")
RequestsConnectionError = named("ConnectionError", OSError)


def max_retries(reason):
    error = named("MaxRetryError")("Max retries exceeded")
    error.reason = reason
    return error


def azure_core(name, inner):
    """azure.core's: `inner_exception`, raised from nothing. aiohttp's every error is a ServiceRequestError there."""
    error = named(name, named("AzureError"))("An error occurred")
    error.inner_exception = inner
    return error


def aiohttp_parser():
    """aiohttp's parser calls an answer that breaks off a bad request, in `code`."""
    error = named("TransferEncodingError", named("HttpProcessingError"))("Not enough data")
    error.code, error.message, error.headers = 400, "Not enough data", None
    return error


@pytest.mark.parametrize(
    ("error", "kind", "reached"),
    [
        (TimeoutError(), "timeout", "unknown"),
        (asyncio.TimeoutError(), "timeout", "unknown"),
        (concurrent.futures.TimeoutError(), "timeout", "unknown"),
        (ReadTimeout(), "timeout", "unknown"),
        (ConnectTimeout(), "timeout", "unsent"),
        (raised_from(APITimeoutError(), ReadTimeout()), "timeout", "unknown"),
        (raised_from(APITimeoutError(), ConnectTimeout()), "timeout", "unsent"),
        (urllib.error.URLError(TimeoutError()), "connection", "unknown"),
        (ConnectionResetError(), "connection", "unknown"),
        (ConnectionRefusedError(), "connection", "unsent"),
        (BrokenPipeError(), "connection", "unknown"),
        (http.client.RemoteDisconnected(), "connection", "unknown"),
        (http.client.IncompleteRead(b""), "connection", "unknown"),
        (asyncio.IncompleteReadError(b"", 1), "connection", "unknown"),
        (socket.gaierror(), "connection", "unsent"),
        (ssl.SSLError(), "connection", "unknown"),
        (urllib.error.URLError(ConnectionRefusedError()), "connection", "unsent"),
        (RequestsConnectionError(max_retries(NewConnectionError())), "connection", "unsent"),
        (RequestsConnectionError(max_retries(ssl.SSLError())), "connection", "unknown"),
        (raised_from(APIConnectionError("Connection error."), ConnectError()), "connection", "unsent"),
        (named("RemoteProtocolError", named("ProtocolError"))(), "connection", "unknown"),
        (named("ServerDisconnectedError", named("ClientConnectionError"))(), "connection", "unknown"),
        (named("ClientConnectorError", named("ClientConnectionError"))(), "connection", "unsent"),
        (named("EndpointConnectionError", named("ConnectionError"))(), "connection", "unsent"),
        (raised_from(named("ClientPayloadError")(), aiohttp_parser()), "connection", "unknown"),
        (azure_core("ServiceRequestError", NewConnectionError()), "connection", "unsent"),
        (azure_core("ServiceRequestError", http.client.RemoteDisconnected()), "connection", "unknown"),
        (azure_core("ServiceResponseTimeoutError", ReadTimeout()), "timeout", "unknown"),
        (
            litellm(500, "OpenAIException - Connection error.", name="APIConnectionError"),
            "connection",
            "unknown",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_call_without_an_answer_may_be_tried_again(error, kind, reached):
    failure = classify(error, now=NOW)
    assert (failure.kind, failure.reached, failure.status) == (kind, reached, None)
    assert failure.is_retryable


def test_the_status_that_litellm_gives_a_timeout_is_no_answers():
    timeout = named("Timeout", APITimeoutError)("litellm.Timeout: Request timed out.")
    timeout.status_code = 408
    failure = classify(timeout, now=NOW)
    assert (failure.kind, failure.status) == ("timeout", None)


@pytest.mark.parametrize("name", ["UnsupportedProtocol", "LocalProtocolError", "InvalidURL"])
def test_a_request_that_cannot_be_sent_is_not_sent_again(name):
    failure = classify(named(name, named("TransportError"))(), now=NOW)
    assert (failure.kind, failure.reached, failure.is_retryable) == ("bad_request", "unsent", False)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("rate_limit_error insufficient_quota overloaded 429"),
        RuntimeError("Task execution failed: litellm.RateLimitError"),
        named("OutputParserException")('Could not parse: {"error": {"code": "rate_limit_exceeded"}}'),
        KeyError("timeout"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_words_of_an_exception_without_an_answer_are_no_facts(error):
    failure = classify(error, now=NOW)
    assert failure.kind == "unknown"
    assert not failure.is_retryable


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit(), SystemExit(429)], ids=repr
)
def test_an_interruption_is_no_failure_of_the_provider(error):
    failure = classify(raised_from(error, openai(429)), now=NOW)
    assert (failure.kind, failure.reached, failure.is_retryable) == ("unknown", "unknown", False)


def test_what_ratekeeper_refuses_is_not_tried_again():
    refused = rk.QuotaExceededError("no room", scope="s", dimension="requests", retry_after=1.0)
    for error in (refused, raised_from(APIConnectionError(), refused), raised_from(refused, openai(429))):
        failure = classify(error, now=NOW)
        assert (failure.kind, failure.is_retryable) == ("unknown", False)


# --- chains -------------------------------------------------------------------------------------------------


def test_what_an_exception_was_raised_from_tells_what_failed():
    error = raised_from(RuntimeError("Task execution failed"), raised_from(ValueError(), openai(429)))
    assert classify(error, now=NOW).kind == "rate_limit"


def test_the_first_answer_of_a_chain_decides():
    error = raised_from(openai(400), openai(429))
    assert classify(error, now=NOW).kind == "bad_request"
    assert classify(raised_from(TimeoutError(), openai(429)), now=NOW).kind == "rate_limit"


def test_an_error_that_was_being_handled_meanwhile_says_nothing_of_this_call():
    def fallback():
        try:
            raise openai(429)
        except Exception:  # noqa: BLE001
            raise ValueError  # noqa: B904 (a fallback model's own error)

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        fallback()
    assert classify(caught.value, now=NOW).kind == "unknown"


def test_an_exception_that_is_its_own_cause_is_read_and_not_walked_forever():
    alone, limited = ValueError(), openai(429)
    alone.__cause__, limited.__cause__ = alone, limited
    assert classify(alone, now=NOW).kind == "unknown"
    assert classify(limited, now=NOW).kind == "rate_limit"
    one, other = ValueError(), TimeoutError()
    one.__cause__, other.__cause__ = other, one
    assert classify(one, now=NOW).kind == "timeout"


# --- how far a call came ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_request_refused_for_what_it_is_was_rejected(status):
    assert classify(raw(status), now=NOW).reached == "rejected"


@pytest.mark.parametrize("status", [408, 424, 429, 500, 503, 529])
def test_after_a_429_or_an_error_of_the_server_the_cost_is_unknown(status):
    assert classify(raw(status), now=NOW).reached == "unknown"


def test_a_status_is_found_on_the_response_and_on_the_cause():
    assert classify(raised_from(ValueError(), raw(404)), now=NOW).reached == "rejected"


# --- patience -----------------------------------------------------------------------------------------------


def test_how_long_a_failure_may_last_is_for_the_caller_to_say():
    day = Failure("rate_limit", "", passes=True, per="day", retry_after=7200.0)
    assert not day.is_retryable
    assert not day.retryable_within(7199.0)
    assert day.retryable_within(7200.0)
    untold = Failure("rate_limit", "", passes=True, per="day")
    assert not untold.retryable_within(3600.0)
    assert untold.retryable_within(86_400.0)
    assert Failure("server_error", "", passes=True).retryable_within(0.0)
    assert not Failure("exhausted", "").retryable_within(1e9)


def test_without_a_time_passed_in_it_is_now():
    then = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1000))
    wait = classify(raw(429, headers={"retry-after": then})).retry_after
    assert 900 < wait <= 1000


def test_a_failure_pickles_and_does_not_change():
    failure = classify(openai(429, "x"), now=NOW)
    assert pickle.loads(pickle.dumps(failure)) == failure
    with pytest.raises(AttributeError):
        failure.kind = "timeout"


def test_no_word_of_the_provider_stands_in_the_reason():
    failure = classify(openai(401, "Incorrect API key provided: sk-proj-1234"), now=NOW)
    assert failure.reason == "the provider refused the credentials (HTTP 401)"


# --- anything -----------------------------------------------------------------------------------------------


class Hostile(Exception):
    def __str__(self):
        raise ValueError("no")

    @property
    def response(self):
        raise RuntimeError("the request has not been set")

    @property
    def status_code(self):
        return 503


def test_an_exception_whose_own_attributes_raise_is_still_read():
    assert classify(Hostile(), now=NOW).kind == "overload"


#: The first draw of a text takes Hypothesis more than a second on a busy machine.
FUZZ = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)
FIELDS = st.sampled_from(
    [
        "status_code",
        "status",
        "code",
        "body",
        "response",
        "headers",
        "details",
        "reason",
        "litellm_response_headers",
    ]
)


@FUZZ
@given(attributes=st.dictionaries(FIELDS, ANYTHING), message=ANYTHING)
def test_whatever_an_exception_holds_it_is_read_to_the_end(attributes, message):
    error = Exception(message)
    vars(error).update(attributes)
    failure = classify(error, now=NOW)
    assert failure.retry_after is None or 0 <= failure.retry_after <= 31 * 86_400
    assert failure.retry_after is None or failure.passes


@pytest.mark.parametrize("field", ["status_code", "code", "body", "headers"])
def test_a_number_too_long_to_be_printed_is_left_out(field):
    error, huge = raw(429), 10**5000
    setattr(
        error,
        field,
        {"code": huge, "n": [huge]} if field == "body" else {"x-n": huge} if field == "headers" else huge,
    )
    assert classify(error, now=NOW).kind == "rate_limit"


NAMES = st.sampled_from(
    ["retry-after", "Retry-After-Ms", "x-amz-retry-after", "x-ratelimit-reset-tokens", "x-should-retry"]
)


@FUZZ
@given(
    headers=st.dictionaries(NAMES, st.text() | st.from_regex(r"-?[0-9]{0,30}\.?[0-9]{0,9}[smh]{0,2}")),
    body=st.binary(),
)
def test_no_header_and_no_body_moves_a_wait_outside_its_bounds(headers, body):
    error = Exception("answered")
    error.response = SimpleNamespace(status_code=429, headers=Headers(headers), _content=body)
    wait = classify(error, now=NOW).retry_after
    assert wait is None or 0 <= wait <= 31 * 86_400


@pytest.mark.parametrize(
    "word",
    [
        "Tokens",
        "free_",
        "Limit 1, Requested ",
        "1h",
        "retry after 1s ",
        "input ",
        "request ",
        "limit: ",
        "1/",
    ],
)
def test_a_body_that_repeats_itself_is_read_in_no_time(word):
    error = openai(429, word * 100_000)
    start = time.process_time()
    classify(error, now=NOW)
    assert time.process_time() - start < 1.0
