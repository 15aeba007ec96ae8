//! When a price holds: days and hours of the day, both UTC.
//! Pure; the caller says what time it is.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A time as prices look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Year, month and day, as in 20261012.
    pub date: u32,
    /// Hour and minute, as in 1630.
    pub time: u32,
}

impl Moment {
    /// The moment so many seconds after 1970 in UTC.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Self {
        // As in Howard Hinnant's chrono-compatible date algorithms: years begin in March, eras have 400 of them.
        let (days, second) = (seconds.div_euclid(DAY) + 719_468, seconds.rem_euclid(DAY));
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let date = year * 10_000 + month * 100 + day - (153 * shifted + 2) / 5 + 1;
        let time = second / 3600 * 100 + second % 3600 / 60;
        Self { date: u32::try_from(date).unwrap_or(0), time: u32::try_from(time).unwrap_or(0) }
    }
}

/// When something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At all times.
    Always,
    /// From the start of that day.
    Since(u32),
    /// Each day from the first time to before the second, over midnight if that is earlier.
    Daily(u32, u32),
}

impl When {
    /// Reads `20261012` or `0100-0400`; nothing is always.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Always);
        }
        match text.split_once('-') {
            Some((from, until)) => Some(Self::Daily(from.parse().ok()?, until.parse().ok()?)),
            None => Some(Self::Since(text.parse().ok()?)),
        }
    }

    /// Whether it holds then.
    #[must_use]
    pub fn holds(self, at: Moment) -> bool {
        match self {
            Self::Always => true,
            Self::Since(date) => at.date >= date,
            Self::Daily(from, until) if until < from => at.time >= from || at.time < until,
            Self::Daily(from, until) => (from..until).contains(&at.time),
        }
    }
}
