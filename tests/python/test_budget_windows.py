"""The hours, days, weeks and months of budgets, in any time zone, across changes of clocks."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratekeeper.budgets.windows import PERIODS, window

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia")
]
SHORTEST = {"hour": 3600, "day": 22 * 3600, "week": 6 * 86_400, "month": 27 * 86_400}
LONGEST = {"hour": 3600, "day": 26 * 3600, "week": 8 * 86_400, "month": 32 * 86_400}


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("per", "now", "start", "end"),
    [
        ("day", "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),  # 23 hours
        ("day", "2026-10-25T12:00", "2026-10-25T00:00", "2026-10-26T00:00"),  # 25 hours
        ("day", "2026-10-25T00:00", "2026-10-25T00:00", "2026-10-26T00:00"),
        ("week", "2026-11-22T23:59", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("week", "2026-11-23T00:00", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("month", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("hour", "2026-11-21T09:59", "2026-11-21T09:00", "2026-11-21T10:00"),
    ],
)
def test_a_period_is_that_of_the_calendar(per, now, start, end):
    assert window(per, at(now), BERLIN) == (at(start), at(end))


def test_the_hour_that_the_wall_shows_twice_is_two():
    first = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc).timestamp()
    assert window("hour", first, BERLIN)[1] == window("hour", first + 3600, BERLIN)[0]


@given(st.sampled_from(PERIODS), st.integers(1_700_000_000, 2_200_000_000), st.sampled_from(ZONES))
def test_every_moment_is_in_one_period_and_the_next_begins_where_it_ends(per, now, zone):
    start, end = window(per, now, zone)
    assert start <= now < end
    assert SHORTEST[per] <= end - start <= LONGEST[per]
    assert window(per, end, zone)[0] == end
    assert window(per, start, zone) == (start, end)
