//! Arithmetic of one bucket: pure functions of state, amount and time.
//! No locks, no store, no clock; the caller brings `now`.
//!
//! A bucket is GCRA with one number of state, the theoretical arrival time (TAT): the time at which it is full again.
//! It is kept in units of nanoseconds x amount, in which every charge is a whole number, so nothing is ever rounded: not
//! one call too many in a year, not one nanosecond idle.
//!
//! Settling a lease for less than it reserved must not create quota. If the bucket was full at some moment since the
//! reservation, the reservation has cost nothing that is left to give back; if it was nearly full, only as much as was
//! then missing. The bucket therefore remembers its lowest backlogs, and a refund leaves it exactly as if the real usage had
//! been charged in the first place.
//!
//! What a provider tells of its own count is true of some moment between the sending of a call and its answer. So the bucket also
//! remembers its highest backlogs: only what lies outside of all it had itself in that time is news ([`Bucket::reconcile`]).

mod marks;

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::bytes::bytes_of_fields;
use crate::clock::Time;
use crate::quota::Limit;

pub(crate) use marks::KEPT;
use marks::Marks;

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
    lows: Marks,
    highs: Marks,
}

bytes_of_fields!(Bucket { limit, tat, lows, highs });

/// What of a bucket changes with each call, in nanoseconds x amount, for a store that keeps it in a form of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) tat: u128,
    pub(crate) lows: Vec<(Time, u128)>,
    pub(crate) highs: Vec<(Time, u128)>,
}

impl Bucket {
    pub(crate) fn levels(&self) -> Levels {
        Levels { tat: self.tat, lows: self.lows.entries().to_vec(), highs: self.highs.entries().to_vec() }
    }

    /// Goes on from levels as they were; false if they are none of a bucket.
    pub(crate) fn set_levels(&mut self, levels: &Levels) -> bool {
        self.tat = levels.tat;
        self.lows.replace(&levels.lows) && self.highs.replace(&levels.highs)
    }

    /// A full bucket.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self { limit, tat: 0, lows: Marks::lows(), highs: Marks::highs() }
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
        amount == 0 || self.tat + self.cost(amount.min(burst)) <= self.at(now) + self.cost(burst)
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
        let backlog = backlog + self.cost(amount);
        self.highs.record(now, backlog);
        self.tat = self.at(now) + backlog;
    }

    /// Gives back `amount` of what was charged at `charged_at`, as far as time has not given it back already.
    pub fn refund(&mut self, amount: u64, charged_at: Time) {
        let wanted = self.cost(amount);
        let given = self.lows.after(charged_at).map_or(wanted, |low| low.min(wanted));
        self.lows.lower_after(charged_at, given);
        self.tat = self.tat.saturating_sub(given);
    }

    /// What is left; negative for a debt.
    #[must_use]
    pub fn remaining(&self, now: Time) -> i64 {
        i64::try_from(self.left_of(self.backlog(now), true)).unwrap_or(i64::MIN)
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

    /// Goes on under another limit that was not agreed but found: what remains stays, as far as the new burst holds it, since nobody
    /// has used the difference. A debt takes no longer to pay than before, nor longer than a period.
    pub fn retune(&mut self, limit: Limit, now: Time) {
        let (before, after) = (self.cost(self.limit.burst()), self.cost(limit.burst()));
        let (backlog, rate) = (self.backlog(now), self.rate());
        self.limit = limit;
        let debt = backlog.saturating_sub(before);
        let debt = debt.min(debt.div_ceil(rate) * self.rate()).min(self.cost(self.limit.amount()));
        self.restart((backlog.min(before) + after).saturating_sub(before) + debt, now);
    }

    /// What each of so many processes may have of it: of the limit, of what remains, and of a debt. Together they have no more
    /// than is here, but for limits that are smaller than the number of processes.
    #[must_use]
    pub fn share_of(&self, processes: u32, now: Time) -> Self {
        let (processes, limit) = (processes.max(1), self.limit.share_of(processes));
        let (whole, backlog) = (self.cost(self.limit.burst()), self.backlog(now));
        let left = whole.saturating_sub(backlog) / u128::from(processes);
        let debt = backlog.saturating_sub(whole).div_ceil(u128::from(processes));
        let (lows, highs) = (self.lows.share_of(processes), self.highs.share_of(processes));
        let mut share = Self { limit, tat: 0, lows, highs };
        share.tat = share.at(now) + (share.cost(limit.burst()) + debt).saturating_sub(left);
        share
    }

    /// Takes over what the provider says is left, which was true at some moment since `sent_at` and is known as this range.
    ///
    /// Less than was here in all that time is news of somebody else's calls, and is charged. Returns how much more than was ever here it
    /// says: room that nobody uses, if it lasts ([`Bucket::add`]). What lies between differs only by calls on their way.
    pub fn reconcile(&mut self, remaining: &RangeInclusive<i64>, sent_at: Time, now: Time) -> u64 {
        let backlog = self.backlog(now);
        let lowest = self.lows.from(sent_at).map_or(backlog, |low| low.min(backlog));
        let highest = self.highs.from(sent_at).unwrap_or_else(|| self.backlog(sent_at));
        let (most, least) = (self.left_of(lowest, false), self.left_of(highest, true));
        let (told_least, told_most) = (i128::from(*remaining.start()), i128::from(*remaining.end()));
        self.charge(u64::try_from(least - told_most).unwrap_or(0), now);
        u64::try_from(told_least - most).unwrap_or(0)
    }

    /// Adds what nobody has used, as far as the burst holds it.
    pub fn add(&mut self, amount: u64, now: Time) {
        if amount > 0 {
            self.restart(self.backlog(now).saturating_sub(self.cost(amount)), now);
        }
    }

    /// Sees to it that no more than `amount` remains at `time`.
    pub fn drain(&mut self, amount: u64, time: Time, now: Time) {
        let burst = self.limit.burst();
        let backlog = self.cost(burst - amount.min(burst));
        let tat = (self.at(time) + backlog).max(self.at(now) + self.backlog(now));
        if tat > self.tat {
            self.restart(tat - self.at(now), now);
        }
    }

    fn restart(&mut self, backlog: u128, now: Time) {
        self.lows.restart(now, backlog);
        self.highs.restart(now, backlog);
        self.tat = self.at(now) + backlog;
    }

    fn left_of(&self, backlog: u128, rounds_down: bool) -> i128 {
        let used = if rounds_down { backlog.div_ceil(self.period()) } else { backlog / self.period() };
        i128::from(self.limit.burst()) - i128::try_from(used).unwrap_or(i128::MAX)
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
