//! A rate that nobody told, found by what is accepted between two refusals.
//!
//! At a refusal the provider's bucket is empty. So what it accepts between two refusals is what has flowed in meanwhile, whatever its
//! burst. The rate starts a little below what was measured so and grows with what is accepted, faster the longer nothing is refused: a
//! caller that sends nothing learns nothing.

use std::time::Duration;

use crate::bytes::bytes_of_fields;
use crate::clock::Time;

/// The lowest rate, in calls a second: one a minute.
pub const LOWEST_RATE: f64 = 1.0 / 60.0;
/// Where it starts where nothing was accepted before, in calls a second.
const FIRST_GUESS: f64 = 1.0;
/// Where it starts, as a share of what was measured.
const START: f64 = 0.95;
/// How it grows from one step to the next, at first.
const GROWTH: f64 = 0.05;
/// After so many steps the growth is twice as fast.
const STEPS_TO_TWICE: f64 = 8.0;
/// The furthest above what was measured.
const MOST: f64 = 2.0;
/// What a step is: what is accepted in this time, but no fewer calls than [`CALLS_A_STEP`].
const STEP: Duration = Duration::from_secs(10);
/// A refusal costs a call; with this many between two of them it costs little.
const CALLS_A_STEP: f64 = 30.0;
/// The steps are half as long each time that it has doubled without a refusal, down to this part.
const MOST_HASTE: f64 = 8.0;
/// What has to be accepted to measure it well: with fewer, it is measured together with what follows.
const CALLS_TO_MEASURE: f64 = 5.0;
/// What remains after a refusal that came while far less was asked for: nothing was measured then.
const KEPT: f64 = 0.7;
/// A rate that nothing has cut for so long is forgotten where something better is known.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// A rate of one dimension.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Per second, when it was last cut.
    before: f64,
    /// What was accepted until then.
    closed: Span,
    /// What was accepted since.
    open: Span,
    /// The most that a call asked.
    call: f64,
    /// So much shorter are the steps.
    haste: f64,
    /// When it was last cut.
    cut_at: Time,
}

bytes_of_fields!(Rate { before, closed, open, call, haste, cut_at });

/// What was accepted since a moment, and for how long.
#[derive(Clone, Copy, Debug)]
struct Span {
    since: Time,
    seconds: f64,
    accepted: f64,
    calls: f64,
}

bytes_of_fields!(Span { since, seconds, accepted, calls });

impl Span {
    const fn new(since: Time) -> Self {
        Self { since, seconds: 0.0, accepted: 0.0, calls: 0.0 }
    }

    fn add(&mut self, amount: u64, calls: f64) {
        self.accepted += in_f64(amount) * calls;
        self.calls += calls;
    }

    /// What has flowed in a second; None if nothing has. It is less than a call more than was accepted.
    fn rate(&self, call: f64) -> Option<f64> {
        let more = if self.calls < CALLS_TO_MEASURE { call } else { 0.0 };
        (self.calls >= 1.0 && self.seconds > 0.0).then(|| (self.accepted + more) / self.seconds)
    }
}

impl Rate {
    /// A rate whose first refusal, of a call of that amount, came when so much was being accepted a second.
    #[must_use]
    pub fn new(accepted: f64, amount: u64, now: Time) -> Self {
        let (closed, open, call) = (Span::new(now), Span::new(now), in_f64(amount.max(1)));
        Self { before: accepted.max(FIRST_GUESS * call), closed, open, call, haste: 1.0, cut_at: now }
    }

    /// What each of so many processes may have of it; what it accepts is measured anew.
    #[must_use]
    pub fn share_of(&self, processes: u32, now: Time) -> Self {
        let before = self.now() / f64::from(processes.max(1));
        Self { before, closed: Span::new(now), open: Span::new(now), haste: 1.0, ..*self }
    }

    /// Per second, as it is now.
    #[must_use]
    pub fn now(&self) -> f64 {
        let measured = self.measured();
        // The fewer calls were measured, the less is known, and the faster it is found out.
        let known = if self.closed.calls >= 1.0 { self.closed.calls.min(CALLS_A_STEP) } else { CALLS_A_STEP };
        let step = (measured * STEP.as_secs_f64()).max(known * self.mean()) / self.haste;
        let steps = if step > 0.0 { self.open.accepted.max(0.0) / step } else { 0.0 };
        let growth = (GROWTH.max(1.0 / known) * (steps + steps * steps / STEPS_TO_TWICE)).exp();
        let start = if self.closed.calls >= 1.0 { START } else { 1.0 };
        (measured * (start * growth).min(MOST)).max(self.lowest())
    }

    /// A call of that amount starts.
    pub fn granted(&mut self, amount: u64, now: Time) {
        self.call = self.call.max(in_f64(amount));
        self.open.add(amount, 1.0);
        // At its ceiling it has been accepted for long, and so is measured anew.
        let mut span = self.open;
        span.seconds = now.since(span.since).as_secs_f64();
        let before = self.now();
        if before >= self.measured() * MOST && span.rate(0.0).is_some_and(|rate| rate > self.measured()) {
            let haste = (self.haste * 2.0).min(MOST_HASTE);
            *self = Self { before, haste, closed: span, open: Span::new(now), ..*self };
        }
    }

    /// A call of that amount was refused after all: an episode of refusals begins.
    ///
    /// What was accepted measures nothing if far less was asked for than the rate allows.
    pub fn cut(&mut self, amount: u64, was_short: bool, now: Time) {
        self.before = self.now();
        self.haste = 1.0;
        self.cut_at = now;
        if !was_short {
            self.before = (self.before * KEPT).max(self.lowest());
            (self.closed, self.open) = (Span::new(now), Span::new(now));
            return;
        }
        self.call = self.call.max(in_f64(amount));
        let mut span = self.open;
        span.add(amount, -1.0);
        // What measures nothing is a part of what does: a window that is used up accepts nothing until it turns.
        if self.closed.calls < CALLS_TO_MEASURE {
            span.since = self.closed.since;
            span.accepted += self.closed.accepted;
            span.calls += self.closed.calls;
        }
        span.seconds = now.since(span.since).as_secs_f64();
        (self.closed, self.open) = (span, Span::new(now));
    }

    /// A call of that amount from before the last cut was refused too, so less was accepted then.
    pub fn refused_late(&mut self, amount: u64) {
        if self.closed.seconds > 0.0 {
            self.closed.add(amount, -1.0);
        }
    }

    /// Whether nothing was refused for long.
    #[must_use]
    pub fn is_stale(&self, now: Time) -> bool {
        now.since(self.cut_at) > KEPT_FOR
    }

    fn measured(&self) -> f64 {
        self.closed.rate(self.call).map_or(self.before, |rate| rate.min(self.before)).max(self.lowest())
    }

    /// One call a minute.
    fn lowest(&self) -> f64 {
        LOWEST_RATE * self.call
    }

    fn mean(&self) -> f64 {
        if self.open.calls >= 1.0 { self.open.accepted / self.open.calls } else { 0.0 }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn in_f64(amount: u64) -> f64 {
    amount as f64
}
