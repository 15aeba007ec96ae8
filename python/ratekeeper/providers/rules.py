"""What providers' errors say, in their own words: codes, phrases and statuses, as rules.

Owns the tables. May not read an exception, a header or a clock. Sources: the providers' documentation and SDKs,
as named at each rule; what is told apart by a phrase has no code of its own.
"""

from __future__ import annotations

import re
from typing import Literal

#: What failed.
Kind = Literal[
    "rate_limit",
    "overload",
    "server_error",
    "timeout",
    "connection",
    "exhausted",
    "too_large",
    "bad_request",
    "auth",
    "unknown",
]
#: The period of a quota.
Period = Literal["second", "minute", "hour", "day", "month"]


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


#: Codes that mean the same under any status: OpenAI's (help.openai.com, "Error codes"), Anthropic's (its SDK's
#: error details), AWS's (bedrock-runtime's service model).
_OUT_OF_QUOTA = _any(
    r"\b(?:insufficient_quota|credit_balance_exhausted|billing_hard_limit_reached|billing_not_active)\b",
    r"\b(?:organization|project)_(?:usage|spend)_limit_exceeded\b",
    r"\b(?:enforced|contract)_spend_limit_reached\b",
    r"\b(?:linked_organization_\w+|organization_on_hold|billing_error)\b",
    r"\bServiceQuotaExceededException\b",
)
#: The same in prose. Anthropic says the first two with a 400; monthly caps come as 429 (Mistral, Cohere's trial
#: keys); Gemini's limit of 0 is a model that the plan does not have.
_OUT_OF_QUOTA_PROSE = _any(
    r"reached your specified (?:workspace )?API usage limits",
    r"(?:credit )?balance is too low|insufficient (?:balance|credits|funds)",
    r"enforced spend limit",
    r"\bmonthly (?:\w+ )?(?:limit|cap|quota|allowance)|(?:per| /|/) ?month\b",
    r"""\blimit: 0(?![\d.])|["']quotaValue["']: ?["']0["']""",
)
#: OpenAI's words for insufficient_quota, where the code is lost; but Gemini says them of every rate limit.
_CURRENT_QUOTA = _any(r"exceeded your current quota")
_GOOGLE = _any(r"\bRESOURCE_EXHAUSTED\b|googleapis\.com|ai\.google\.dev")

_TOO_LARGE = _any(
    r"\b(?:context_length_exceeded|request_too_large|string_above_max_length|ContextWindowExceededError)\b",
    r"\brequest too large\b|\b(?:prompt|input) is too long\b|\bmaximum context length\b",
    r"exceeds the maximum number of tokens",
)
#: OpenAI and Groq: what was asked may be more than the limit ever holds, whatever the status says of it.
_ASKED = re.compile(r"\bLimit ([0-9]{1,12})(?:, Used [0-9]+)?, Requested ~?([0-9]{1,12})\b")

#: "slow_down" (OpenAI) and "ramp_limit_exceeded" (Anthropic) are limits on growth; throttling is AWS's word.
_LIMITED = _any(r"\b(?:slow_down|ramp_limit_exceeded|ThrottlingException|TooManyRequestsException)\b")
#: Shared capacity and not one's own quota, though some say it with a 429: Azure ("high demand"), Vertex (dynamic
#: shared quota), Bedrock (a model that is being loaded).
_OVERLOADED = _any(
    r"overloaded",
    r"\bModelNotReadyException\b",
    r"experiencing high demand",
    r"resource exhausted[.,] please try again later",
)
_BAD_KEY = _any(r"\bAPI_KEY_INVALID\b")

#: 409 is a lock that could not be had in time (the SDKs of OpenAI and Anthropic retry it), 424 Bedrock's model that
#: failed.
_STATUSES: dict[int, Kind] = {
    401: "auth",
    402: "exhausted",
    403: "auth",
    408: "timeout",
    409: "server_error",
    413: "too_large",
    424: "server_error",
    429: "rate_limit",
    503: "overload",
    504: "timeout",
    529: "overload",
}
#: What the body says where the status does not: errors in the middle of a stream.
_CODES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("rate_limit", _any(r"\brate_limit(?:_error|_exceeded|ed)\b|\brate_limited\b")),
    ("timeout", _any(r"\btimeout_error\b|\bModelTimeoutException\b")),
    ("auth", _any(r"\b(?:authentication|permission)_error\b|\binvalid_api_key\b")),
    ("bad_request", _any(r"\b(?:invalid_request|not_found)_error\b|\bValidationException\b")),
    ("overload", _any(r"\bServiceUnavailableException\b|\bservice_unavailable\b")),
    (
        "server_error",
        _any(r"\b(?:server|api|internal)_error\b|\bInternalServerException\b|\bModelStreamError"),
    ),
)
#: Classes of SDKs and HTTP clients whose exceptions come without an answer.
_NAMED: tuple[tuple[Kind, str], ...] = (
    ("bad_request", "UnsupportedProtocol InvalidURL LocalProtocolError MissingSchema InvalidSchema"),
    ("bad_request", "BadRequestError NotFoundError UnprocessableEntityError"),
    ("timeout", "TimeoutError APITimeoutError Timeout TimeoutException DeadlineExceeded"),
    ("timeout", "ReadTimeoutError ConnectTimeoutError ServerTimeoutError"),
    ("timeout", "ServiceRequestTimeoutError ServiceResponseTimeoutError"),
    ("connection", "ConnectionError APIConnectionError TransportError NetworkError ConnectError URLError"),
    (
        "connection",
        "ProtocolError IncompleteRead IncompleteReadError RemoteDisconnected ChunkedEncodingError",
    ),
    (
        "connection",
        "ClientConnectionError ClientPayloadError HTTPClientError MaxRetryError SSLError gaierror",
    ),
    ("connection", "ServiceRequestError ServiceResponseError"),
    ("exhausted", "EnforcedSpendLimitReachedError BudgetExceededError PaymentRequiredError"),
    ("too_large", "ContextWindowExceededError RequestTooLargeError"),
    ("rate_limit", "RateLimitError TooManyRequests ResourceExhausted"),
    ("overload", "OverloadedError ServiceUnavailableError ServiceUnavailable"),
    ("server_error", "InternalServerError"),
    ("auth", "AuthenticationError PermissionDeniedError"),
)
_NAMES = {name: kind for kind, names in _NAMED for name in names.split()}
_CREDENTIALS = frozenset({401, 403})


def kind_by_text(status: int | None, text: str) -> Kind | None:
    """What the words of an answer say, where they say more than its status."""
    client = status is None or status < 500
    if _OUT_OF_QUOTA.search(text) or (client and _out_of_quota(text)):
        return "exhausted"
    if client and status not in _CREDENTIALS and (_TOO_LARGE.search(text) or _asks_too_much(text)):
        return "too_large"
    if _LIMITED.search(text):
        return "rate_limit"
    if status in (None, 429) or not client:
        return "overload" if _OVERLOADED.search(text) else None
    return "auth" if _BAD_KEY.search(text) else None


def kind_by_status(status: int) -> Kind:
    """What a status of 400 or more says by itself."""
    return _STATUSES.get(status, "server_error" if status >= 500 else "bad_request")


def kind_by_code(text: str) -> Kind | None:
    """What the codes of a body say, without a status to go by."""
    return next((kind for kind, codes in _CODES if codes.search(text)), None)


def kind_by_name(names: tuple[str, ...]) -> Kind | None:
    """What the classes of an exception say; the most special first."""
    return next((_NAMES[name] for name in names if name in _NAMES), None)


def _out_of_quota(text: str) -> bool:
    if _OUT_OF_QUOTA_PROSE.search(text):
        return True
    return bool(_CURRENT_QUOTA.search(text)) and not is_google(text)


def _asks_too_much(text: str) -> bool:
    return any(int(asked) > int(limit) > 0 for limit, asked in _ASKED.findall(text))


def is_google(text: str) -> bool:
    """Whether an answer is Gemini's or Vertex's."""
    return bool(_GOOGLE.search(text))
