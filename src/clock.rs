//! The one place that reads time. Everything else is told what time it is.
//! No calendar and no time zones: times count from the clock's own origin; [`unix_micros`] alone from that of UTC.

use std::fs;
use std::ops::Add;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A point in time, in nanoseconds since its clock's origin. Times of different clocks do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than any time a clock tells.
    pub const MAX: Self = Self(u64::MAX);

    /// The time that lies `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Tells the time. It never runs backwards.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Time;
}

/// The machine's monotonic clock, counted from its first use in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Time {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
        Time::ZERO + elapsed
    }
}

/// A clock that all processes of one machine share: what has passed since it was started, sleep included, from an origin that they agree
/// on. Nobody can set it, so it does not jump.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    origin: u64,
}

impl MachineClock {
    /// The clock that tells this time when the machine has just been started.
    #[must_use]
    pub const fn from_origin(origin: u64) -> Self {
        Self { origin }
    }

    /// The clock that tells that it is now this time.
    #[must_use]
    pub fn telling(now: Time) -> Self {
        Self { origin: now.nanos().saturating_sub(since_start()) }
    }

    /// What it told when the machine had just been started.
    #[must_use]
    pub const fn origin(&self) -> u64 {
        self.origin
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Time {
        Time(self.origin.saturating_add(since_start()))
    }
}

/// Nanoseconds since the machine was started.
#[cfg(target_os = "linux")]
fn since_start() -> u64 {
    let passed = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(passed.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(passed.tv_nsec).unwrap_or_default())
}

/// Where nothing tells one start of the machine from another, the wall clock has to do.
#[cfg(not(target_os = "linux"))]
fn since_start() -> u64 {
    u64::try_from(unix_micros()).unwrap_or_default().saturating_mul(1_000)
}

/// What tells this run of the machine from all others; empty where nothing does.
#[must_use]
pub fn run_of_machine() -> String {
    let run = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    run.map(|run| run.trim().to_owned()).unwrap_or_default()
}

/// A clock that moves only when told to, so that a day of traffic is tested in milliseconds.
///
/// ```
/// use ratekeeper::clock::{Clock, ManualClock, Time};
/// let clock = ManualClock::default();
/// clock.advance(std::time::Duration::from_nanos(5));
/// assert_eq!(clock.now(), Time::from_nanos(5));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, length: Duration) {
        self.advance_to(self.now() + length);
    }

    /// Moves the clock to `time`; never back.
    pub fn advance_to(&self, time: Time) {
        self.0.fetch_max(time.nanos(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

/// Microseconds since 1970 by the machine's wall clock, for what is read by people; negative before that. It may run backwards.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is where time comes from")]
pub fn unix_micros() -> i64 {
    let micros = |length: Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    }
}
