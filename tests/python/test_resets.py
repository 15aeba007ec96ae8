"""When a provider says to come back: parsed or ignored, in every form that is known."""

import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ratekeeper.providers import resets

#: 2026-11-21 09:00:00 UTC.
NOW = 1_795_251_600.0
DAY = 86_400.0
#: The first draw of a text takes Hypothesis more than a second on a busy machine.
FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def epoch(*fields):
    return datetime(*fields, tzinfo=timezone.utc).timestamp()


# --- durations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("1h2m3.5s", 3723.5),
        ("24h0m0s", DAY),
        ("1d", DAY),
        ("37s", 37.0),
        ("26.386536021s", 26.386536021),
        ("150µs", 0.00015),
        ("1.5h", 5400.0),
        (" 1s ", 1.0),
    ],
)
def test_a_go_duration_is_the_sum_of_its_parts(text, seconds):
    assert resets.duration(text) == pytest.approx(seconds)
    assert resets.reset(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "6m0",
        "-1s",
        "+1s",
        "1 s",
        "1S",
        "1sec",
        "1s!",
        "NaN",
        "infs",
        "1e3s",
        "\u0661s",
        "1w",
        "s1",
        "1..5s",
        "32d",
        "9" * 70 + "s",
    ],
)
def test_what_is_no_duration_is_nothing(text):
    assert resets.duration(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("20", 20.0), ("1.5", 1.5), (".5", 0.5), ("86400", DAY), (" 7\t", 7.0)]
)
def test_bare_seconds_are_seconds(text, seconds):
    assert resets.number(text) == seconds
    assert resets.retry_after(text, NOW) == seconds
    assert resets.reset(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "nan",
        "inf",
        "-inf",
        "1e3",
        "0x10",
        "1_000",
        "1,5",
        "\u0663",
        "\u00b2",
        "soon",
        "20\n",
        "9" * 400,
    ],
)
def test_what_is_no_number_is_nothing(text):
    assert resets.number(text) is None
    assert resets.milliseconds(text) is None
    assert resets.retry_after(text, NOW) is None
    assert resets.reset(text, NOW) is None


def test_milliseconds_are_thousandths():
    assert resets.milliseconds("1500") == 1.5
    assert resets.milliseconds("0.5") == 0.0005


def test_a_wait_of_hours_comes_out_as_it_is_and_one_of_more_than_a_month_not_at_all():
    assert resets.retry_after("7200", NOW) == 7200.0
    assert resets.retry_after("2678400", NOW) == 31 * DAY
    assert resets.retry_after("2678401", NOW) is None
    assert resets.retry_after("4294967", NOW) is None
    assert resets.milliseconds("2678400001") is None
    assert resets.retry_after(str(int(NOW) + 5), NOW) is None


def test_a_retry_after_is_also_read_as_a_duration():
    assert resets.retry_after("6m0s", NOW) == 360.0


# --- points in time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T09:00:37Z", 37.0),
        ("2026-11-21T09:00:37.25Z", 37.25),
        ("2026-11-21t09:00:37z", 37.0),
        ("2026-11-21T10:00:37+01:00", 37.0),
        ("2026-11-21T01:00:37-08:00", 37.0),
        ("2026-11-21T08:59:59Z", 0.0),
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-21T09:00:60Z", 60.0),
        ("2026-12-01T00:00:00Z", 9 * DAY + 15 * 3600),
    ],
)
def test_rfc_3339_is_the_time_until_then(text, seconds):
    assert resets.rfc3339(text, NOW) == seconds
    assert resets.reset(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21",
        "2026-11-21T09:00:37",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T09:61:00Z",
        "0000-01-01T00:00:00Z",
        "2027-11-21T09:00:00Z",
        "\uff12\uff1026-11-21T09:00:37Z",
    ],
)
def test_what_is_no_time_or_too_far_off_is_nothing(text):
    assert resets.rfc3339(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sat, 21 Nov 2026 09:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 08:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 09:00:00 GMT", DAY),
        ("Sat, 21 Nov 2026 09:00:30 PST", None),
        ("Sat, 21 Nvm 2026 09:00:30 GMT", None),
        ("Sat, 31 Feb 2026 09:00:30 GMT", None),
        ("Sat, 21 Nov 2026 25:00:30 GMT", None),
        ("Sat, 21 Nov 2126 09:00:30 GMT", None),
    ],
)
def test_an_http_date_is_the_time_until_then(text, seconds):
    assert resets.http_date(text, NOW) == seconds
    assert resets.retry_after(text, NOW) == seconds


def test_seconds_and_milliseconds_since_the_epoch_are_told_from_durations_by_their_size():
    assert resets.reset("1795251610", NOW) == 10.0
    assert resets.reset("1795251610500", NOW) == 10.5
    assert resets.reset("1795251590000", NOW) == 0.0
    assert resets.reset("17952516100000000", NOW) is None


# --- messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 6m0s. Visit https://x", 360.0),
        ("Please try again in 20s.", 20.0),
        ("Please try again in 1.5s", 1.5),
        ("Please try again in 345ms.", 0.345),
        ("Please try again in 1h2m3.5s.", 3723.5),
        ("Please retry after 37 seconds.", 37.0),
        ("retry after 1 second", 1.0),
        ("retry after 86400 seconds", DAY),
        ("Please retry in 37.512345s.", 37.512345),
        ("Try again in 60 seconds.", 60.0),
        ("Please wait 5 minutes", 300.0),
        ("Please wait for 500 milliseconds", 0.5),
        ("try again in 1 minute 30 seconds", 90.0),
        ("try again in 1 hour, 2 minutes and 3 seconds", 3723.0),
        ("Try again in 2 days", 2 * DAY),
        ("Retry after 1 second. Please try again in 5s.", 5.0),
    ],
)
def test_the_wait_in_a_message_is_read(message, seconds):
    assert resets.told_in(message) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Please try again later.",
        "Limit 200, Used 200",
        "try again in 3",
        "try again in 20 years",
        "try again in 5 months",
        "try again in -5s",
        "it took 20s",
        "retry after 99 days",
        "try again in five minutes",
    ],
)
def test_a_message_without_a_wait_has_none(message):
    assert resets.told_in(message) is None


# --- calendars ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        (epoch(2026, 11, 21, 9), epoch(2026, 11, 22, 8)),
        (epoch(2026, 11, 21, 7, 59, 59), epoch(2026, 11, 21, 8)),
        (epoch(2026, 11, 21, 8), epoch(2026, 11, 22, 8)),
        (epoch(2026, 7, 1, 6, 59), epoch(2026, 7, 1, 7)),
        (epoch(2026, 7, 1, 7, 30), epoch(2026, 7, 2, 7)),
        (epoch(2026, 3, 8, 7), epoch(2026, 3, 8, 8)),  # the clocks change two hours later
        (epoch(2026, 3, 8, 12), epoch(2026, 3, 9, 7)),
        (epoch(2026, 11, 1, 6), epoch(2026, 11, 1, 7)),
        (epoch(2026, 11, 1, 12), epoch(2026, 11, 2, 8)),
        (epoch(2026, 12, 31, 23), epoch(2027, 1, 1, 8)),
    ],
)
def test_the_pacific_midnight_keeps_summer_time(now, midnight):
    assert resets.pacific_midnight(now) == midnight


@FUZZ
@given(st.integers(int(epoch(2008, 1, 1)), int(epoch(2060, 1, 1))))
def test_the_pacific_midnight_agrees_with_the_time_zones_of_the_machine(now):
    zoneinfo = pytest.importorskip("zoneinfo")
    try:
        pacific = zoneinfo.ZoneInfo("America/Los_Angeles")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("a machine without time zones")
    tomorrow = datetime.fromtimestamp(now, pacific).date() + timedelta(days=1)
    expected = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=pacific).timestamp()
    assert resets.pacific_midnight(now) == expected


def test_midnight_and_the_first_of_the_month_are_those_to_come():
    assert resets.utc_midnight(epoch(2026, 11, 21, 9)) == epoch(2026, 11, 22)
    assert resets.utc_midnight(epoch(2026, 11, 21)) == epoch(2026, 11, 22)
    assert resets.utc_month(epoch(2026, 11, 21, 9)) == epoch(2026, 12, 1)
    assert resets.utc_month(epoch(2026, 12, 31, 23, 59)) == epoch(2027, 1, 1)
    assert resets.utc_month(epoch(2027, 1, 1)) == epoch(2027, 2, 1)


# --- anything -----------------------------------------------------------------------------------------------

LIKE = st.from_regex(r"\A-?[0-9]{0,20}\.?[0-9]{0,20}(ms|s|m|h|d|Z)?-?[0-9]{0,4}(s|T)?\Z") | st.from_regex(
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)


@FUZZ
@given(st.text() | LIKE, st.floats(0, 1e11))
@example("9999-12-31T23:59:59-99:99", NOW)
@example("0001-01-01T00:00:00+99:99", NOW)
@example("9" * 5000, NOW)
def test_whatever_is_sent_nothing_raises_and_no_wait_is_negative_endless_or_no_number(text, now):
    parsed = [parse(text) for parse in (resets.number, resets.milliseconds, resets.duration, resets.told_in)]
    parsed += [
        parse(text, now) for parse in (resets.retry_after, resets.reset, resets.rfc3339, resets.http_date)
    ]
    parsed.append(resets.told_in(f"try again in {text}"))
    for wait in parsed:
        assert wait is None or (math.isfinite(wait) and 0 <= wait <= resets.LONGEST)


@FUZZ
@given(st.integers(0, 10**9))
def test_a_duration_of_go_is_read_as_it_was_written(ms):
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h{minutes}m{rest / 1000:g}s" if hours else f"{minutes}m{rest / 1000:g}s"
    assert resets.duration(text) == pytest.approx(ms / 1000, abs=0.01)
