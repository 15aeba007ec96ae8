//! One scope as plain state: its meters, permits and pace, and the steps on them.

mod share;

use std::sync::Arc;
use std::time::Duration;

use super::meter::{Meter, Reading};
use super::{LimitStatus, ScopeStatus, Source};
use crate::bytes::Bytes;
use crate::clock::Time;
use crate::error::Misfit;
use crate::pace::{Concurrency, Flow, Loss, Pause, Refusal, Setback, Told};
use crate::quota::{Amounts, Dimension, Limit, MAX_AMOUNT, MAX_PERIOD, MIN_PERIOD, Quota};
use crate::scope::{Blocked, Cause, ScopeId};
use crate::semaphore::Permits;

/// The period of a limit that nobody names, which is nearly always a minute.
const USUAL_PERIOD: Duration = Duration::from_mins(1);
/// A refusal that does not name a period is of one that is no longer than this,
const SOON: Duration = Duration::from_hours(1);
/// unless it asks for a wait longer than this.
const LONG_WAIT: Duration = Duration::from_mins(10);
/// What a rate is assumed of where nobody says what ran out.
const USUAL_DIMENSIONS: [Dimension; 2] = [Dimension::Requests, Dimension::Tokens];

#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) name: Arc<str>,
    pub(super) is_cap: bool,
    pub(super) meters: Vec<Meter>,
    pub(super) permits: Permits,
    headroom: Duration,
    pub(super) pause: Pause,
    /// While nothing is known, or the provider is overloaded.
    concurrency: Option<Concurrency>,
    pub(super) flow: Flow,
}

/// A call that is or was in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: Time,
    pub(super) amounts: Amounts,
}

impl Scope {
    pub(super) fn new(name: Arc<str>, quota: &Quota, is_cap: bool) -> Self {
        Self {
            name,
            is_cap,
            meters: quota.limits().iter().copied().map(Meter::new).collect(),
            permits: Permits::new(quota.concurrency()),
            headroom: quota.headroom(),
            pause: Pause::default(),
            concurrency: None,
            flow: Flow::default(),
        }
    }

    /// Appends all but the name, by which it is found again.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.is_cap.write(out);
        self.meters.write(out);
        self.permits.write(out);
        self.headroom.write(out);
        self.pause.write(out);
        self.concurrency.write(out);
        self.flow.write(out);
    }

    /// The scope that was written, under that name.
    pub(super) fn read(name: Arc<str>, from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            name,
            is_cap: Bytes::read(from)?,
            meters: Bytes::read(from)?,
            permits: Bytes::read(from)?,
            headroom: Bytes::read(from)?,
            pause: Bytes::read(from)?,
            concurrency: Bytes::read(from)?,
            flow: Bytes::read(from)?,
        })
    }

    /// Starts with few calls at once, if nothing is known of its limits; tells whether that is so.
    pub(super) fn be_careful(&mut self) -> bool {
        let is_unknown =
            self.meters.is_empty() && self.permits.limit().is_none() && self.concurrency.is_none();
        if is_unknown {
            self.concurrency = Some(Concurrency::careful());
        }
        is_unknown
    }

    /// Whether how many may be in flight, or how fast, is found out as it goes.
    pub(super) fn is_exploring(&self) -> bool {
        self.concurrency.is_some() || self.meters.iter().any(Meter::is_assumed)
    }

    pub(super) fn is_idle(&self, now: Time) -> bool {
        self.permits.held() == 0 && self.meters.iter().all(|meter| meter.bucket().full_at() <= now)
    }

    pub(super) fn configure(&mut self, quota: &Quota, now: Time) {
        self.permits.resize(quota.concurrency());
        self.headroom = quota.headroom();
        self.meters.retain(|meter| quota.limits().iter().any(|limit| is_same(meter.limit(), limit)));
        for &limit in quota.limits() {
            match self.meters.iter_mut().find(|meter| is_same(meter.limit(), &limit)) {
                Some(meter) => meter.configure(limit, now),
                None => self.meters.push(Meter::late(limit, Source::Configured, now)),
            }
        }
    }

    #[inline]
    pub(super) fn has_room(&self, amounts: &Amounts, now: Time) -> bool {
        self.has_permit()
            && !self.pause.is_on(now)
            && self.meters.iter().all(|meter| {
                let amount = amounts.get(meter.limit().dimension());
                meter.bucket().has_room(amount, now) && amount <= meter.largest_call()
            })
    }

    pub(super) fn has_permit(&self) -> bool {
        let most = self.concurrency.as_ref().and_then(Concurrency::limit);
        self.permits.is_free() && most.is_none_or(|most| self.permits.held() < most)
    }

    /// What keeps a call from starting, other than a permit, and longest.
    pub(super) fn obstacle(
        &self,
        id: ScopeId,
        ahead: &Amounts,
        amounts: &Amounts,
        now: Time,
    ) -> Result<Option<Blocked>, Misfit> {
        let mut latest = self.paused(id, now);
        for meter in &self.meters {
            let dimension = meter.limit().dimension();
            let amount = amounts.get(dimension);
            if amount > meter.largest_call() {
                let (scope, limit) = (self.name.clone(), meter.largest_call());
                return Err(Misfit { scope, dimension, amount, limit });
            }
            let ready_at = meter.bucket().ready_at(ahead.get(dimension), amount);
            if amount > 0 && ready_at > now && latest.is_none_or(|other| ready_at > other.ask_again_at) {
                let (cause, ask_again_at, ready_at) = (Cause::Room, ready_at, Some(ready_at));
                latest = Some(Blocked { cause, scope: id, dimension, ready_at, ask_again_at });
            }
        }
        // What a pause has drained is the pause's doing, however long it takes to come back.
        if let (Some(latest), Some(paused)) = (&mut latest, self.paused(id, now)) {
            latest.cause = paused.cause;
            latest.ready_at = latest.ready_at.max(paused.ready_at);
        }
        Ok(latest)
    }

    fn paused(&self, scope: ScopeId, now: Time) -> Option<Blocked> {
        self.pause.is_on(now).then(|| Blocked {
            cause: if self.pause.is_hopeless() { Cause::LongPause } else { Cause::Pause },
            scope,
            dimension: self.pause.dimension(),
            ready_at: Some(self.pause.told()),
            ask_again_at: self.pause.until(),
        })
    }

    #[inline]
    pub(super) fn grant(&mut self, amounts: &Amounts, now: Time) {
        self.permits.take();
        for meter in &mut self.meters {
            meter.grant(amounts.get(meter.limit().dimension()), now);
        }
        self.flow.granted(amounts, now);
    }

    /// A call is over: `actual` replaces what it had reserved.
    pub(super) fn settle(&mut self, sent: &Sent, actual: &Amounts, now: &impl Fn() -> Time) {
        self.release(&sent.amounts);
        self.correct(sent, actual, now);
    }

    /// What a call has really used replaces what it had reserved.
    pub(super) fn correct(&mut self, sent: &Sent, actual: &Amounts, now: &impl Fn() -> Time) {
        let (extra, unused) = (actual.minus(&sent.amounts), sent.amounts.minus(actual));
        let has_debt = extra != Amounts::default();
        for meter in &mut self.meters {
            let dimension = meter.limit().dimension();
            if has_debt {
                meter.bucket_mut().charge(extra.get(dimension), now());
            }
            match unused.get(dimension) {
                0 => {}
                unused => meter.bucket_mut().refund(unused, sent.at),
            }
        }
    }

    /// A call is over, and nobody knows what it used.
    pub(super) fn release(&mut self, amounts: &Amounts) {
        self.permits.give_back();
        self.flow.ended(amounts);
    }

    /// All calls of a holder that is gone are over.
    pub(super) fn release_all(&mut self, permits: u32, amounts: &Amounts) {
        (0..permits).for_each(|_| self.permits.give_back());
        self.flow.ended(amounts);
    }

    /// A call that is about to be settled has its answer.
    pub(super) fn succeeded(&mut self, sent: &Sent) {
        self.pause.succeeded(sent.at);
        if let Some(concurrency) = &mut self.concurrency {
            concurrency.succeeded(self.permits.held(), sent.at);
        }
        self.concurrency.take_if(|concurrency| concurrency.is_over());
    }

    /// A call that is about to be settled has none.
    pub(super) fn failed(&mut self, sent: &Sent, setback: &Setback, now: Time) {
        match setback {
            Setback::Refused(refusal) => self.refused(sent, refusal, now),
            Setback::Overloaded => self.slow_down(sent, Loss::Overloaded, now),
            Setback::Other => {}
        }
    }

    fn refused(&mut self, sent: &Sent, refusal: &Refusal, now: Time) {
        let is_news = self.pause.is_news(sent.at);
        let is_unexplained = self.is_unexplained(sent, refusal, now);
        self.flow.refused(&sent.amounts);
        if refusal.dimension == Some(Dimension::Concurrency) {
            self.slow_down(sent, Loss::Unexplained, now);
        } else if is_news {
            if is_unexplained {
                self.slow_down(sent, Loss::Unexplained, now);
            }
            self.find_limit(sent, refusal, now);
        } else {
            for meter in self.ran_out(refusal) {
                meter.refused_late(sent.amounts.get(meter.limit().dimension()), now);
            }
        }
        // A call that looks whether a long pause was meant needs room too.
        let ready_at = self.pause.refused(refusal, sent.at, now).min(self.pause.until());
        for meter in self.ran_out(refusal) {
            let amount = sent.amounts.get(meter.limit().dimension());
            meter.drain(amount, ready_at, is_unexplained, now);
        }
    }

    /// Answers the first refusal of an episode: a limit that is told has been taken over already; one that is not is assumed.
    fn find_limit(&mut self, sent: &Sent, refusal: &Refusal, now: Time) {
        if self.ran_out(refusal).any(|meter| meter.is_learned()) {
            return;
        }
        self.add_usual(refusal, now);
        let flow = self.flow.clone();
        for meter in self.ran_out(refusal) {
            let dimension = meter.limit().dimension();
            meter.assume(sent.amounts.get(dimension), flow.rate(dimension, now), now);
        }
        if self.concurrency.is_some() {
            self.slow_down(sent, Loss::Refused, now);
        }
    }

    /// Whether there was room by all that the provider tells.
    fn is_unexplained(&mut self, sent: &Sent, refusal: &Refusal, now: Time) -> bool {
        let mut is_told = false;
        let has_room = self.ran_out(refusal).all(|meter| {
            is_told |= meter.is_learned();
            let dimension = meter.limit().dimension();
            meter.bucket().has_room(sent.amounts.get(dimension), now)
        });
        is_told && has_room
    }

    fn slow_down(&mut self, sent: &Sent, loss: Loss, now: Time) {
        let in_flight = self.permits.held() + 1;
        self.concurrency.get_or_insert_with(Concurrency::unbounded).cut(loss, in_flight, sent.at, now);
    }

    /// The meters of what ran out: as told, or else those that refill soonest; a day's quota only if it is told, or the wait is long.
    fn ran_out(&mut self, refusal: &Refusal) -> impl Iterator<Item = &mut Meter> {
        let is_long = refusal.retry_after.is_some_and(|wait| wait > LONG_WAIT);
        let longest = refusal.period.unwrap_or(if is_long { Duration::MAX } else { SOON });
        let periods = Dimension::RATES.map(|dimension| {
            let is_told = refusal.dimension.is_none_or(|told| told == dimension);
            (dimension, is_told.then(|| self.period_of(dimension, refusal.period, longest)).flatten())
        });
        self.meters.iter_mut().filter(move |meter| {
            let limit = meter.limit();
            periods.contains(&(limit.dimension(), Some(limit.period())))
        })
    }

    /// The period of that length if a limit of the dimension has it, or else the shortest.
    fn period_of(&self, dimension: Dimension, told: Option<Duration>, longest: Duration) -> Option<Duration> {
        let limits = self.meters.iter().map(Meter::limit).filter(|limit| limit.dimension() == dimension);
        let periods = limits.map(Limit::period).filter(|period| *period <= longest);
        periods.min_by_key(|period| (Some(*period) != told, *period))
    }

    /// Adds a meter for what ran out where there is none; for what nobody names, only where nothing is known at all.
    fn add_usual(&mut self, refusal: &Refusal, now: Time) {
        let is_there = self.ran_out(refusal).next().is_some();
        let dimensions = match &refusal.dimension {
            _ if is_there => &[],
            Some(dimension) => std::slice::from_ref(dimension),
            None if self.meters.is_empty() => &USUAL_DIMENSIONS[..],
            None => &[],
        };
        let period = refusal.period.unwrap_or(USUAL_PERIOD);
        for &dimension in dimensions {
            if let Ok(limit) = Limit::new(dimension, MAX_AMOUNT, period, None) {
                self.meters.push(Meter::late(limit, Source::Assumed, now));
            }
        }
    }

    /// Takes over what the answer to a call tells of the limits; whether one of them has changed.
    pub(super) fn learn(&mut self, sent: &Sent, told: &[Told], now: Time) -> bool {
        let mut has_changed = false;
        let others = self.flow.in_flight().minus(&sent.amounts);
        for told in told {
            let Some(index) = self.meter_of(told, now) else { continue };
            let in_flight = others.get(told.dimension);
            let reading = Reading { told, headroom: self.headroom, in_flight, sent_at: sent.at };
            let meter = &mut self.meters[index];
            let before = meter.is_known().then(|| meter.limit().amount());
            meter.learn(&reading, now);
            has_changed |= before != Some(meter.limit().amount());
            if meter.is_learned() {
                self.has_learned();
            }
        }
        has_changed
    }

    /// A limit that is known needs no guess at how much may go at once, unless the provider was overloaded.
    fn has_learned(&mut self) {
        self.concurrency.take_if(|concurrency| concurrency.is_careful());
    }

    fn meter_of(&mut self, told: &Told, now: Time) -> Option<usize> {
        let sane = told.limit.is_none_or(|limit| (1..=MAX_AMOUNT).contains(&limit))
            && told.period.is_none_or(|period| (MIN_PERIOD..=MAX_PERIOD).contains(&period));
        if !sane {
            return None;
        }
        let known = self.period_of(told.dimension, told.period, Duration::MAX);
        let period = match (known, told.period) {
            (Some(known), None) => known,
            (_, told) => told.unwrap_or(USUAL_PERIOD),
        };
        if known != Some(period) {
            let limit = Limit::new(told.dimension, told.limit?, period, None).ok()?;
            self.meters.push(Meter::late(limit.with_headroom(self.headroom), Source::Assumed, now));
        }
        self.meters
            .iter()
            .position(|meter| (meter.limit().dimension(), meter.limit().period()) == (told.dimension, period))
    }

    pub(super) fn status(&self, now: Time) -> ScopeStatus {
        let limits: Vec<LimitStatus> = self.meters.iter().map(|meter| meter.status(now)).collect();
        ScopeStatus {
            name: self.name.clone(),
            limits,
            concurrency: self.permits.limit(),
            adapted_concurrency: self.concurrency.as_ref().and_then(Concurrency::limit),
            in_flight: self.permits.held(),
            paused_until: self.pause.is_on(now).then(|| self.pause.told()),
        }
    }
}

fn is_same(one: &Limit, other: &Limit) -> bool {
    (one.dimension(), one.period()) == (other.dimension(), other.period())
}
