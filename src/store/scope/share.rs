//! The share that one process has of a scope while nobody can be asked for the whole, and what the whole is charged for it afterwards.

use super::{Scope, is_same};
use crate::bucket::Bucket;
use crate::clock::Time;
use crate::pace::Flow;
use crate::quota::{Amounts, Quota};
use crate::store::outage::{Held, MakeUp, Used};

impl Scope {
    /// What each of so many processes may have: of every limit and of what remains of it, of debts and permits. Pause and headroom stay.
    /// `held` is what this process holds.
    pub(in crate::store) fn share_of(&self, processes: u32, held: &Held, now: Time) -> Self {
        Self {
            name: self.name.clone(),
            is_cap: self.is_cap,
            meters: self.meters.iter().map(|meter| meter.share_of(processes, now)).collect(),
            permits: self.permits.share_of(processes, held.permits),
            headroom: self.headroom,
            pause: self.pause.clone(),
            concurrency: self.concurrency.as_ref().map(|concurrency| concurrency.share_of(processes)),
            flow: Flow::with(held.amounts),
        }
    }

    /// Sets the quota anew of which this is a share.
    pub(in crate::store) fn configure_share(&mut self, whole: &Quota, processes: u32, now: Time) {
        self.configure(&whole.share_of(processes), now);
        for limit in whole.limits() {
            let of_it = self.meters.iter_mut().filter(|meter| is_same(meter.limit(), limit));
            of_it.for_each(|meter| meter.set_largest_call(limit));
        }
    }

    /// The buckets as they are, to be kept uncharged beside a share.
    pub(in crate::store) fn buckets(&self) -> Vec<Bucket> {
        self.meters.iter().map(|meter| meter.bucket().clone()).collect()
    }

    /// What was used of a share and has not flowed back, by the `twins` that nothing was charged to since.
    pub(in crate::store) fn used_since(&self, twins: &[Bucket], now: Time) -> Vec<Used> {
        let used = self.meters.iter().filter_map(|meter| {
            let limit = meter.limit();
            let mut twin = twins.iter().find(|twin| is_same(twin.limit(), limit))?.clone();
            if twin.limit() != limit {
                twin.retune(*limit, now);
            }
            let amount = twin.remaining(now) - meter.bucket().remaining(now);
            let amount = u64::try_from(amount).ok().filter(|amount| *amount > 0)?;
            Some(Used { dimension: limit.dimension(), period: limit.period(), amount })
        });
        used.collect()
    }

    /// Charges what a process did while it could not say so; what it holds now takes the place of what it held before, and the longer
    /// pause stays.
    pub(in crate::store) fn make_up(&mut self, make_up: &MakeUp, now: Time) {
        self.release_all(make_up.before.permits, &make_up.before.amounts);
        (0..make_up.held.permits).for_each(|_| self.permits.take());
        self.flow.granted(&make_up.held.amounts, now);
        for used in &make_up.used {
            let key = (used.dimension, used.period);
            for meter in self.meters.iter_mut().filter(|meter| key == key_of(meter.limit())) {
                let left = u64::try_from(meter.bucket().remaining(now)).unwrap_or(0);
                let most = if make_up.only_to_empty { left } else { u64::MAX };
                meter.bucket_mut().charge(used.amount.min(most), now);
            }
        }
        if make_up.pause.until() > self.pause.until() {
            self.pause = make_up.pause.clone();
        }
    }

    /// Nobody holds anything of it, as in a store that has lost its state.
    pub(in crate::store) fn hold_nothing(&mut self) {
        let in_flight = self.flow.in_flight();
        self.release_all(self.permits.held(), &in_flight);
    }

    pub(in crate::store) fn pause(&self) -> &crate::pace::Pause {
        &self.pause
    }
}

fn key_of(limit: &crate::quota::Limit) -> (crate::quota::Dimension, std::time::Duration) {
    (limit.dimension(), limit.period())
}

impl Held {
    /// With one call more.
    pub(in crate::store) fn plus(&self, amounts: &Amounts) -> Self {
        Self { permits: self.permits + 1, amounts: self.amounts.plus(amounts) }
    }
}
