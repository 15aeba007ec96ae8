//! One limit of a scope: its bucket, and who says how large it is.
//! The smallest of what is configured, learned and assumed is in force.

use std::time::Duration;

use crate::bucket::Bucket;
use crate::bytes::bytes_of_fields;
use crate::clock::Time;
use crate::pace::{Rate, Told};
use crate::quota::{Limit, MAX_AMOUNT};

use super::{LimitStatus, Source};

/// The burst of a limit that nobody told.
const ASSUMED_BURST: Duration = Duration::from_secs(5);

/// What is thought to be left of a configured limit at the first refusal.
const LEAST_LEFT: f64 = 0.5;
/// What a provider tells of room that we do not know of is true if it is so for a period, or for this long.
const LASTING: Duration = Duration::from_mins(1);

/// What the answer to a call tells of one limit.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) told: &'a Told,
    pub(super) headroom: Duration,
    /// Reserved by the other calls in flight: the provider may not have counted them yet.
    pub(super) in_flight: u64,
    pub(super) sent_at: Time,
}

#[derive(Clone, Debug)]
pub(super) struct Meter {
    bucket: Bucket,
    configured: Option<Limit>,
    learned: Option<Limit>,
    assumed: Option<Rate>,
    /// What refusals took away that nobody could explain, and when the last of them did.
    drained: Option<(Time, u64)>,
    largest_call: u64,
    source: Source,
    /// Since when the limit in force is what it is; zero if from the beginning.
    since: Time,
    /// Since when the provider tells of more than is here, and the least of it.
    spare: Option<(Time, u64)>,
}

bytes_of_fields!(Meter { bucket, configured, learned, assumed, drained, largest_call, source, since, spare });

impl Meter {
    pub(super) fn new(limit: Limit) -> Self {
        Self::of(Bucket::new(limit), Source::Configured, Time::ZERO)
    }

    /// One that joins others in mid-run.
    pub(super) fn late(limit: Limit, source: Source, now: Time) -> Self {
        Self::of(Bucket::late(limit, now), source, now)
    }

    fn of(bucket: Bucket, source: Source, since: Time) -> Self {
        let limit = *bucket.limit();
        let of = |kind| (source == kind).then_some(limit);
        let (configured, learned) = (of(Source::Configured), of(Source::Learned));
        let largest_call = largest_of(configured);
        Self {
            bucket,
            configured,
            learned,
            assumed: None,
            source,
            since,
            spare: None,
            drained: None,
            largest_call,
        }
    }

    /// What each of so many processes may have of it; what one call may ask stays, for a large one still fits a full bucket.
    pub(super) fn share_of(&self, processes: u32, now: Time) -> Self {
        let part = |limit: Limit| limit.share_of(processes);
        Self {
            bucket: self.bucket.share_of(processes, now),
            configured: self.configured.map(part),
            learned: self.learned.map(part),
            assumed: self.assumed.as_ref().map(|rate| rate.share_of(processes, now)),
            drained: None,
            largest_call: self.largest_call,
            source: self.source,
            since: self.since,
            spare: None,
        }
    }

    /// Grants what one call may ask of the whole, where this is the share of a limit that was set anew.
    pub(super) fn set_largest_call(&mut self, whole: &Limit) {
        self.largest_call = whole.largest_call();
    }

    pub(super) const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(super) const fn bucket_mut(&mut self) -> &mut Bucket {
        &mut self.bucket
    }

    pub(super) const fn limit(&self) -> &Limit {
        self.bucket.limit()
    }

    pub(super) const fn is_configured(&self) -> bool {
        self.configured.is_some()
    }

    pub(super) const fn is_learned(&self) -> bool {
        self.learned.is_some()
    }

    pub(super) const fn is_assumed(&self) -> bool {
        self.assumed.is_some()
    }

    /// Whether anybody says how large it is.
    pub(super) const fn is_known(&self) -> bool {
        self.is_configured() || self.is_learned() || self.assumed.is_some()
    }

    /// The most one call may ask.
    pub(super) const fn largest_call(&self) -> u64 {
        self.largest_call
    }

    pub(super) fn status(&self, now: Time) -> LimitStatus {
        LimitStatus {
            limit: *self.limit(),
            remaining: self.bucket.remaining(now),
            full_at: self.bucket.full_at(),
            source: self.source,
            configured: self.configured.map(|limit| limit.amount()),
            since: (self.since > Time::ZERO).then_some(self.since),
        }
    }

    /// Takes the user's word: what is used stays used, and what was learned before is to be told again.
    pub(super) fn configure(&mut self, limit: Limit, now: Time) {
        (self.learned, self.assumed, self.drained, self.spare) = (None, None, None, None);
        self.configured = Some(limit);
        self.largest_call = largest_of(self.configured);
        let (limit, source) = self.in_force();
        self.bucket.set_limit(limit, now);
        self.note(source, now);
    }

    pub(super) fn grant(&mut self, amount: u64, now: Time) {
        self.bucket.charge(amount, now);
        if let Some(rate) = &mut self.assumed
            && amount > 0
        {
            if rate.is_stale(now) && self.configured.is_some() {
                self.assumed = None;
            } else {
                rate.granted(amount, now);
            }
            self.retune(now);
        }
    }

    /// Takes over what the provider tells.
    pub(super) fn learn(&mut self, reading: &Reading<'_>, now: Time) {
        let Reading { told, headroom, .. } = *reading;
        let before = self.learned;
        if let Some(amount) = told.limit {
            self.learned = Some(limit_of(self.limit(), amount, None).with_headroom(headroom));
            self.assumed = None;
            if self.learned != before {
                self.retune(now);
            }
        }
        let Some(remaining) = told.remaining else { return };
        let held_back = self.limit().amount_in(headroom);
        let rounding = told.rounded_to / 2;
        let left = |remaining| signed(remaining).saturating_sub(signed(held_back));
        let (least, most) =
            (left(remaining.saturating_sub(rounding)), left(remaining.saturating_add(rounding)));
        if before.is_none() && !self.is_configured() {
            // Nothing was counted here before.
            let known = least.saturating_sub(signed(reading.in_flight));
            let more = self.bucket.reconcile(&(known..=known), now, now);
            return self.bucket.add(more, now);
        }
        // More than the user grants is not taken; and what was here under another limit says nothing of what may remain
        // under this one.
        let has_changed = told.limit.is_some() && self.learned != before;
        let is_whole = told.limit.is_none_or(|limit| limit <= self.limit().amount());
        let (least, since) = match (has_changed, is_whole) {
            (true, _) => (i64::MIN, now),
            (false, true) => (least.saturating_sub(signed(reading.in_flight)), reading.sent_at),
            (false, false) => (i64::MIN, reading.sent_at),
        };
        let more = self.bucket.reconcile(&(least..=most), since, now);
        if has_changed && most >= 0 {
            // What was owed under the other limit is not owed any more.
            self.bucket.add(u64::try_from(-self.bucket.remaining(now)).unwrap_or(0), now);
        }
        let more = self.undrain(more, reading.sent_at, now);
        self.spare(more, now);
    }

    /// Sees to it that no more than `amount` remains at `time`, since the provider refused a call; if it had told that there was
    /// room, what is taken away may turn out to be there after all.
    pub(super) fn drain(&mut self, amount: u64, time: Time, is_unexplained: bool, now: Time) {
        let before = self.bucket.remaining(now);
        self.bucket.drain(amount, time, now);
        let taken = u64::try_from(before - self.bucket.remaining(now)).unwrap_or(0);
        if is_unexplained || self.drained.is_some() {
            let earlier = self.drained.map_or(0, |(_, taken)| taken);
            self.drained = Some((now, earlier + taken));
        }
    }

    /// Gives back what was drained if the first call sent since then finds it there after all; returns what else is told to remain.
    fn undrain(&mut self, more: u64, sent_at: Time, now: Time) -> u64 {
        let Some((_, taken)) = self.drained.take_if(|(at, _)| *at < sent_at) else { return more };
        let given = taken.min(more);
        self.bucket.add(given, now);
        more - given
    }

    /// Gives back what is told to remain beyond what is here, once it has lasted. At the turn of a fixed window all of it seems spare,
    /// and is not: whoever takes it at once has none of it later.
    fn spare(&mut self, more: u64, now: Time) {
        let (since, least) = self.spare.map_or((now, more), |(since, least)| (since, least.min(more)));
        self.spare = (least > 0).then_some((since, least));
        if now.since(since) >= LASTING.min(self.limit().period()) {
            self.bucket.add(least, now);
            self.spare = None;
        }
    }

    /// A call of that amount, sent since the last episode, was refused, and nobody tells the limit: finds a rate that holds.
    pub(super) fn assume(&mut self, amount: u64, accepted: f64, now: Time) {
        if let Some(rate) = &mut self.assumed {
            let was_short =
                self.bucket.remaining(now).saturating_mul(2) < signed(self.bucket.limit().burst());
            rate.cut(amount, was_short, now);
        } else {
            // Who asks little is refused for what others use. How much less than is configured that leaves is found soon.
            let least = self.configured.map_or(0.0, |limit| a_second(&limit) * LEAST_LEFT);
            self.assumed = Some(Rate::new(accepted.max(least), amount, now));
        }
        self.retune(now);
    }

    /// A call of that amount from before the last cut was refused too.
    pub(super) fn refused_late(&mut self, amount: u64, now: Time) {
        if let Some(rate) = &mut self.assumed {
            rate.refused_late(amount);
            self.retune(now);
        }
    }

    fn retune(&mut self, now: Time) {
        let (limit, source) = self.in_force();
        if limit != *self.limit() {
            self.bucket.retune(limit, now);
        }
        self.note(source, now);
    }

    fn note(&mut self, source: Source, now: Time) {
        if source != self.source || source == Source::Learned {
            self.since = now;
        }
        self.source = source;
    }

    fn in_force(&self) -> (Limit, Source) {
        let assumed = self.assumed.as_ref().map(|rate| self.assumed_limit(rate));
        let all = [
            (self.configured, Source::Configured),
            (self.learned, Source::Learned),
            (assumed, Source::Assumed),
        ];
        let known = all.into_iter().filter_map(|(limit, source)| limit.map(|limit| (limit, source)));
        let least = known.min_by_key(|(limit, _)| limit.amount()).unwrap_or((*self.limit(), self.source));
        let burst = self.configured.map_or(u64::MAX, |limit| limit.burst());
        (limit_of(&least.0, least.0.amount(), Some(least.0.burst().min(burst))), least.1)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn assumed_limit(&self, rate: &Rate) -> Limit {
        let amount = |seconds: f64| (rate.now() * seconds).round().clamp(1.0, MAX_AMOUNT as f64) as u64;
        let burst = amount(ASSUMED_BURST.as_secs_f64());
        limit_of(self.limit(), amount(self.limit().period().as_secs_f64()), Some(burst))
    }
}

/// The most one call may ask. Of what was only learned the provider is the judge: a misreading must not end all calls.
fn largest_of(configured: Option<Limit>) -> u64 {
    configured.map_or(u64::MAX, |limit| limit.largest_call())
}

/// A limit of another amount; both are in range.
fn limit_of(like: &Limit, amount: u64, burst: Option<u64>) -> Limit {
    let amount = amount.clamp(1, MAX_AMOUNT);
    Limit::new(like.dimension(), amount, like.period(), burst).unwrap_or(*like)
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn a_second(limit: &Limit) -> f64 {
    limit.amount() as f64 / limit.period().as_secs_f64()
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
