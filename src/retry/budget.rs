//! The retry budget of one scope: what share of its calls may be retries, so that an outage is not multiplied.
//! The shape and the costs are those of the AWS SDKs. Nobody waits for it: an empty budget is an answer.

use std::time::Duration;

use super::{Decision, Kind, Reason};
use crate::bytes::bytes_of_fields;
use crate::clock::Time;
use crate::error::{Error, Result};

/// What a full budget holds.
pub const CAPACITY: u32 = 100;
/// What a retry costs after a failure that may have been billed.
pub const UNSURE_COST: u32 = 14;
/// What a retry costs after a refusal by a rate limit, which is not billed.
pub const REFUSED_COST: u32 = 5;
/// How often an empty budget lends one retry, for those who call too rarely to earn it.
pub const TRICKLE: Duration = Duration::from_secs(10);

/// How many retries a scope can afford just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    capacity: u32,
    balance: u32,
    lends_at: Time,
}

bytes_of_fields!(RetryBudget { capacity, balance, lends_at });

impl Default for RetryBudget {
    fn default() -> Self {
        Self { capacity: CAPACITY, balance: CAPACITY, lends_at: Time::ZERO }
    }
}

impl RetryBudget {
    /// A full budget.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it could never pay for one retry.
    pub fn new(capacity: u32) -> Result<Self> {
        if capacity < UNSURE_COST {
            return Err(Error::invalid("capacity", format!("a whole number from {UNSURE_COST}"), capacity));
        }
        Ok(Self { capacity, balance: capacity, ..Self::default() })
    }

    /// What it holds when full.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What is left.
    #[must_use]
    pub const fn balance(&self) -> u32 {
        self.balance
    }

    /// What a retry costs after such a failure; nothing if a refused call goes back to its queue, which bounds it already.
    #[must_use]
    pub const fn cost(kind: Kind, is_queued: bool) -> u32 {
        match kind {
            Kind::RateLimit if is_queued => 0,
            Kind::RateLimit => REFUSED_COST,
            _ => UNSURE_COST,
        }
    }

    /// Pays for one retry, or refuses; a refusal changes nothing.
    #[must_use]
    pub fn try_take(&mut self, kind: Kind, is_queued: bool, now: Time) -> bool {
        let cost = Self::cost(kind, is_queued);
        if let Some(rest) = self.balance.checked_sub(cost) {
            self.balance = rest;
            return true;
        }
        let lends = now >= self.lends_at;
        if lends {
            self.balance = 0;
            self.lends_at = now + TRICKLE;
        }
        lends
    }

    /// A decision that also depends on whether the retry can be paid for; if there is one, it is paid.
    #[must_use]
    pub fn afford(&mut self, decision: Decision, kind: Kind, is_queued: bool, now: Time) -> Decision {
        match decision {
            Decision::RetryAfter(_) if !self.try_take(kind, is_queued, now) => {
                Decision::GiveUp(Reason::Budget)
            }
            decision => decision,
        }
    }

    /// A call has succeeded: 1 back at the first attempt, else what its last retry cost.
    pub fn succeeded(&mut self, last_failure: Option<Kind>, is_queued: bool) {
        let earned = last_failure.map_or(1, |kind| Self::cost(kind, is_queued));
        self.balance = self.balance.saturating_add(earned).min(self.capacity);
    }
}
