//! Plain keyed rates for tools and endpoints, on the governor crate.
//! No tokens, no leases: a turn is taken or waited for. Like the limiter it answers and never sleeps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use parking_lot::Mutex;

use crate::clock::{Clock, Time};
use crate::error::{Error, Result, Shortage};
use crate::quota::Dimension;

/// The longest that a whole burst may take to come back: the crate below adds it to the time, in 64 bits of nanoseconds.
const LONGEST_REFILL: Duration = Duration::from_hours(24 * 365 * 100);

/// Idle keys are looked for when this many are known, and then whenever their number has doubled.
const KEYS_BEFORE_SWEEP: usize = 1024;

#[derive(Clone)]
struct GovernorTime(Arc<dyn Clock>);

impl GovernorClock for GovernorTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now().nanos())
    }
}

type Rates =
    governor::RateLimiter<Arc<str>, HashMapStateStore<Arc<str>>, GovernorTime, NoOpMiddleware<Nanos>>;

/// The place of a waiting call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    key: Arc<str>,
    number: u64,
}

/// The answer to [`Throttle::acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Go.
    Now,
    /// Wait; [`Throttle::poll`] will tell.
    Later(Place),
}

struct Line<W> {
    /// When its head has its turn.
    ready_at: Time,
    calls: BTreeMap<u64, W>,
}

struct Lines<W> {
    by_key: HashMap<Arc<str>, Line<W>>,
    /// The lines by the turns of their heads.
    heads: BTreeSet<(Time, Arc<str>)>,
    arrivals: u64,
    sweep_at: usize,
}

/// One rate, for each key apart.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// use ratekeeper::{clock::ManualClock, throttle::{Throttle, Turn}};
///
/// let clock = Arc::new(ManualClock::default());
/// let searches = Throttle::new(clock.clone(), 10, Duration::from_secs(1), Some(1))?;
/// assert!(searches.try_acquire("alice"));
/// assert!(matches!(searches.acquire("alice", None, || "her second")?, Turn::Later(_)));
/// clock.advance(Duration::from_millis(100));
/// assert_eq!(searches.poll().0, [("alice".into(), "her second")]);
/// # Ok::<(), ratekeeper::error::Error>(())
/// ```
pub struct Throttle<W> {
    name: Arc<str>,
    rates: Rates,
    interval: Duration,
    clock: Arc<dyn Clock>,
    lines: Mutex<Lines<W>>,
}

impl<W> Throttle<W> {
    /// `amount` per `period` and key, of which `burst` may go at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an amount is zero, a period is not from 1 ms to 31 days, or a burst would take more than 100 years to
    /// come back.
    pub fn new(clock: Arc<dyn Clock>, amount: u32, period: Duration, burst: Option<u32>) -> Result<Self> {
        let limits = crate::quota::MIN_PERIOD..=crate::quota::MAX_PERIOD;
        if !limits.contains(&period) {
            return Err(Error::invalid("rate", "a period from 1 ms to 31 days", format!("{period:?}")));
        }
        let positive = |field, value| {
            NonZeroU32::new(value).ok_or_else(|| Error::invalid(field, "a whole number from 1", value))
        };
        let (amount, burst) = (positive("rate", amount)?, positive("burst", burst.unwrap_or(amount))?);
        let interval = period / amount.get();
        if interval * burst.get() > LONGEST_REFILL {
            return Err(Error::invalid("burst", "what the rate gives within 100 years", burst));
        }
        let quota = governor::Quota::with_period(interval)
            .ok_or_else(|| Error::invalid("rate", "at most one a nanosecond", amount))?
            .allow_burst(burst);
        let time = GovernorTime(clock.clone());
        let lines = Lines {
            by_key: HashMap::new(),
            heads: BTreeSet::new(),
            arrivals: 0,
            sweep_at: KEYS_BEFORE_SWEEP,
        };
        Ok(Self {
            name: format!("throttle {amount} per {period:?}").into(),
            rates: Rates::new(quota, HashMapStateStore::default(), time),
            interval,
            clock,
            lines: Mutex::new(lines),
        })
    }

    /// The clock's time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Takes a turn now, or a place in the key's line.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] at once if the turn would come after the deadline.
    pub fn acquire(&self, key: &str, deadline: Option<Time>, waiter: impl FnOnce() -> W) -> Result<Turn> {
        let lines = &mut *self.lines.lock();
        let key: Arc<str> = key.into();
        let Some(first) = self.head_turn(lines, &key) else { return Ok(Turn::Now) };
        let before = lines.by_key.get(&key).map_or(0, |line| line.calls.len());
        let ready_at = first + self.interval * u32::try_from(before).unwrap_or(u32::MAX);
        if deadline.is_some_and(|deadline| deadline < ready_at) {
            return Err(self.refusal(ready_at));
        }
        lines.arrivals += 1;
        let number = lines.arrivals;
        let line =
            lines.by_key.entry(key.clone()).or_insert(Line { ready_at: first, calls: BTreeMap::new() });
        line.calls.insert(number, waiter());
        lines.heads.insert((line.ready_at, key.clone()));
        Ok(Turn::Later(Place { key, number }))
    }

    /// Takes a turn now or not at all; it passes nobody who waits.
    pub fn try_acquire(&self, key: &str) -> bool {
        self.head_turn(&mut self.lines.lock(), &key.into()).is_none()
    }

    /// Gives everybody a turn whose time has come, and tells when the next one comes.
    pub fn poll(&self) -> (Vec<(Arc<str>, W)>, Option<Time>) {
        let lines = &mut *self.lines.lock();
        let now = self.clock.now();
        let mut done = Vec::new();
        while let Some((_, key)) = lines.heads.first().filter(|(ready_at, _)| *ready_at <= now).cloned() {
            self.serve(lines, &key, &mut done);
        }
        (done, lines.wake_at())
    }

    /// When to poll; None while nobody waits.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        self.lines.lock().wake_at()
    }

    /// Gives up a place; None if it was not waiting any more.
    pub fn cancel(&self, place: &Place) -> Option<W> {
        self.lines.lock().take(&place.key, place.number)
    }

    /// Hands a turn on that its taker did not live to use; it is lost if nobody of that key waits.
    pub fn hand_on(&self, key: &str) -> Option<W> {
        let lines = &mut *self.lines.lock();
        let (&number, _) = lines.by_key.get(key)?.calls.first_key_value()?;
        lines.take(&key.into(), number)
    }

    /// Drops all who wait, and returns them: in a forked child they are the parent's.
    pub fn forget(&self) -> Vec<W> {
        let lines = &mut *self.lines.lock();
        lines.heads.clear();
        lines.by_key.drain().flat_map(|(_, line)| line.calls.into_values()).collect()
    }

    /// Keys with a memory: used lately, or waited for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rates.retain_recent();
        self.rates.len()
    }

    /// Whether no key was used lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why a turn at that time is too late.
    fn refusal(&self, ready_at: Time) -> Error {
        let retry_after = Some(ready_at.since(self.clock.now()));
        Error::QuotaExceeded(Shortage {
            scope: self.name.clone(),
            dimension: Dimension::Requests,
            retry_after,
        })
    }

    /// Takes a turn if it is free and nobody waits; else tells when the head of the line has its turn.
    fn head_turn(&self, lines: &mut Lines<W>, key: &Arc<str>) -> Option<Time> {
        if let Some(line) = lines.by_key.get(key) {
            return Some(line.ready_at);
        }
        if self.rates.len() >= lines.sweep_at {
            self.rates.retain_recent();
            lines.sweep_at = KEYS_BEFORE_SWEEP.max(2 * self.rates.len());
        }
        self.check(key)
    }

    /// Takes a turn, or tells when there is one.
    fn check(&self, key: &Arc<str>) -> Option<Time> {
        let not_until = self.rates.check_key(key).err()?;
        let since_origin = not_until.earliest_possible().duration_since(Nanos::from(0));
        Some(Time::from_nanos(since_origin.as_u64()))
    }

    fn serve(&self, lines: &mut Lines<W>, key: &Arc<str>, done: &mut Vec<(Arc<str>, W)>) {
        while let Some((&number, _)) = lines.by_key.get(key).and_then(|line| line.calls.first_key_value()) {
            if let Some(ready_at) = self.check(key) {
                return lines.put_off(key, ready_at);
            }
            done.extend(lines.take(key, number).map(|waiter| (key.clone(), waiter)));
        }
    }
}

impl<W> Lines<W> {
    fn wake_at(&self) -> Option<Time> {
        self.heads.first().map(|(ready_at, _)| *ready_at)
    }

    fn take(&mut self, key: &Arc<str>, number: u64) -> Option<W> {
        let line = self.by_key.get_mut(key)?;
        let waiter = line.calls.remove(&number);
        if line.calls.is_empty() {
            self.heads.remove(&(line.ready_at, key.clone()));
            self.by_key.remove(key);
        }
        waiter
    }

    fn put_off(&mut self, key: &Arc<str>, ready_at: Time) {
        let Some(line) = self.by_key.get_mut(key) else { return };
        self.heads.remove(&(line.ready_at, key.clone()));
        line.ready_at = ready_at;
        self.heads.insert((ready_at, key.clone()));
    }
}
