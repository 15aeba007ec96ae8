//! The server's time as far as it is known here, between its answers. It never runs backwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Time, unix_micros};

/// When clocks that only move when told to begin: long after the time that means none.
const BEGINNING: Duration = Duration::from_hours(24 * 365);

/// The server's clock, told from ours and from what the server says.
pub(super) struct ServerClock {
    /// The clock of its user, in tests: then the server is told the time.
    manual: Option<Arc<dyn Clock>>,
    /// What its clock is ahead of ours, in nanoseconds.
    ahead: AtomicI64,
    /// The latest time that was told.
    told: AtomicU64,
}

impl ServerClock {
    /// As if its wall clock were ours.
    pub(super) fn new(manual: Option<Arc<dyn Clock>>) -> Self {
        let wall = unix_micros().saturating_mul(1_000);
        Self { manual, ahead: AtomicI64::new(wall - signed(SystemClock.now())), told: AtomicU64::new(0) }
    }

    /// Our time, to be given to [`ServerClock::heard`].
    pub(super) fn here() -> Time {
        SystemClock.now()
    }

    /// The server said at `server` what we asked at `asked`: then now is no earlier than that, and no later than if the answer had taken
    /// all the time.
    pub(super) fn heard(&self, server: Time, asked: Time) {
        let ahead = closer(self.ahead.load(Ordering::Relaxed), server, asked, SystemClock.now());
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// What the server is told that the time is, in microseconds; None where it knows better.
    pub(super) fn fixed(&self) -> Option<u64> {
        self.manual.as_ref().map(|manual| (manual.now() + BEGINNING).nanos() / 1_000)
    }

    /// What time it is there.
    pub(super) fn now(&self) -> Time {
        if let Some(manual) = &self.manual {
            return manual.now() + BEGINNING;
        }
        let now = signed(SystemClock.now()).saturating_add(self.ahead.load(Ordering::Relaxed));
        let now = u64::try_from(now).unwrap_or_default();
        Time::from_nanos(self.told.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

/// What the server's clock is ahead of ours, after it has said `server` to what we have asked at `asked` and heard at `now`.
pub(super) fn closer(ahead: i64, server: Time, asked: Time, now: Time) -> i64 {
    let (earliest, latest) = (signed(server) - signed(now), signed(server) - signed(asked));
    ahead.clamp(earliest, latest)
}

fn signed(time: Time) -> i64 {
    i64::try_from(time.nanos()).unwrap_or(i64::MAX)
}
