//! Arithmetic of one bucket: pure functions of state, amount and time.
//! No locks, no store, no clock; the caller brings `now`.
//!
//! A bucket is GCRA with one number of state, the theoretical arrival time (TAT): the time at which it is full again.
//! It is kept in units of nanoseconds x amount, in which every charge is a whole number, so nothing is ever rounded: not
//! one call too many in a year, not one nanosecond idle.
//!
//! Settling a lease for less than it reserved must not create quota. If the bucket was full at some moment since the
//! reservation, the reservation has cost nothing that is left to give back; if it was nearly full, only as much as was
//! then missing. The bucket therefore remembers its lowest backlogs (`Lows`), and a refund leaves it exactly as if the real usage had
//! been charged in the first place.

use std::time::Duration;

use crate::clock::Time;
use crate::quota::Limit;

/// The state of one limit.
///
/// ```
/// # use std::time::Duration;
/// use ratekeeper::{bucket::Bucket, clock::Time, quota::{Dimension, Limit}};
///
/// let a_thousand_a_minute = Limit::new(Dimension::Tokens, 1_000, Duration::from_secs(60), None)?;
/// let mut bucket = Bucket::new(a_thousand_a_minute);
/// bucket.charge(1_000, Time::ZERO);
/// assert!(!bucket.has_room(250, Time::ZERO));
/// assert_eq!(bucket.ready_at(0, 250), Time::ZERO + Duration::from_secs(15));
/// # Ok::<(), ratekeeper::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bucket {
    limit: Limit,
    /// When it is full again, in nanoseconds x amount.
    tat: u128,
    lows: Lows,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self { limit, tat: 0, lows: Lows::default() }
    }

    /// A full bucket that joins others in mid-run: leases from before have charged nothing here, and get nothing back.
    #[must_use]
    pub fn late(limit: Limit, now: Time) -> Self {
        let mut bucket = Self::new(limit);
        bucket.lows.record(now + Duration::from_nanos(1), 0);
        bucket
    }

    /// The limit it enforces.
    #[must_use]
    pub const fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Whether `amount` fits now. A call that asks nothing of this limit does not wait for its debts either.
    #[must_use]
    pub fn has_room(&self, amount: u64, now: Time) -> bool {
        let burst = self.limit.burst();
        amount == 0
            || self.tat + self.cost(amount.min(burst)) <= self.at(now) + self.cost(burst)
                && amount <= self.limit.largest_call()
    }

    /// The earliest time at which `amount` fits after `ahead` has been charged.
    ///
    /// An amount above the burst fits a full bucket, and leaves a debt.
    #[must_use]
    pub fn ready_at(&self, ahead: u64, amount: u64) -> Time {
        let burst = self.limit.burst();
        let needed = self.cost(ahead) + self.cost(amount.min(burst));
        let full_at = (self.tat + needed).saturating_sub(self.cost(burst));
        Time::from_nanos(u64::try_from(full_at.div_ceil(self.rate())).unwrap_or(u64::MAX))
    }

    /// Takes `amount`, whether it fits or not: what does not fit is debt.
    pub fn charge(&mut self, amount: u64, now: Time) {
        if amount == 0 {
            return;
        }
        let backlog = self.backlog(now);
        self.lows.record(now, backlog);
        self.tat = self.at(now) + backlog + self.cost(amount);
    }

    /// Gives back `amount` of what was charged at `charged_at`, as far as time has not given it back already.
    pub fn refund(&mut self, amount: u64, charged_at: Time) {
        let wanted = self.cost(amount);
        let given = self.lows.since(charged_at).map_or(wanted, |low| low.min(wanted));
        self.lows.lower_since(charged_at, given);
        self.tat = self.tat.saturating_sub(given);
    }

    /// What is left; negative for a debt.
    #[must_use]
    pub fn remaining(&self, now: Time) -> i64 {
        let used = self.backlog(now).div_ceil(self.period());
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        i64::try_from(self.limit.burst()).unwrap_or(i64::MAX).saturating_sub(used)
    }

    /// When it is full again.
    #[must_use]
    pub fn full_at(&self) -> Time {
        self.ready_at(0, self.limit.burst())
    }

    /// Goes on under another limit of the same dimension and period: what is used stays used, so that the difference of
    /// the bursts is added to, or missing from, what remains.
    pub fn set_limit(&mut self, limit: Limit, now: Time) {
        let backlog = self.backlog(now);
        self.limit = limit;
        self.tat = self.at(now) + backlog;
    }

    fn backlog(&self, now: Time) -> u128 {
        self.tat.saturating_sub(self.at(now))
    }

    fn at(&self, time: Time) -> u128 {
        u128::from(time.nanos()) * self.rate()
    }

    fn cost(&self, amount: u64) -> u128 {
        u128::from(amount) * self.period()
    }

    fn rate(&self) -> u128 {
        u128::from(self.limit.amount())
    }

    fn period(&self) -> u128 {
        self.limit.period().as_nanos()
    }
}

/// How many lows are kept. With more, neighbours merge to the lower of them, which gives back less, never more.
const LOWS: usize = 8;

/// The lowest backlog since any past moment: entries of rising time and backlog.
#[derive(Clone, Debug, Default)]
struct Lows {
    entries: [(Time, u128); LOWS],
    len: usize,
}

impl Lows {
    fn record(&mut self, now: Time, backlog: u128) {
        // The low with which a late bucket starts lies a nanosecond ahead.
        let now = self.entries[..self.len].last().map_or(now, |(last, _)| now.max(*last));
        while self.len > 0 && self.entries[self.len - 1].1 >= backlog {
            self.len -= 1;
        }
        if self.len == LOWS {
            let (lowest, later) = (self.entries[0].1, self.entries[1].0);
            self.entries.copy_within(1.., 0);
            self.entries[0] = (later, lowest);
            self.len -= 1;
        }
        self.entries[self.len] = (now, backlog);
        self.len += 1;
    }

    /// The lowest backlog that a charge after `time` met. Charges at the same instant met at least the charge asked about, so
    /// they need no look.
    fn since(&self, time: Time) -> Option<u128> {
        self.entries[..self.len].iter().find(|(at, _)| *at > time).map(|(_, backlog)| *backlog)
    }

    fn lower_since(&mut self, time: Time, by: u128) {
        let later = self.entries[..self.len].partition_point(|(at, _)| *at <= time);
        for entry in &mut self.entries[later..self.len] {
            entry.1 -= by;
        }
        let Some(&(_, lowest)) = self.entries[later..self.len].first() else { return };
        let kept = self.entries[..later].partition_point(|(_, backlog)| *backlog < lowest);
        self.entries.copy_within(later..self.len, kept);
        self.len -= later - kept;
    }
}
