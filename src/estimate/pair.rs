//! What one (model, caller) taught: the ratio of real to counted tokens, how well it predicts, and how long the
//! answers are. Arithmetic of one pair; which pairs are kept is `learned`'s affair.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// How many ratios and outputs a pair remembers.
pub const RECENT: usize = 64;

/// The bounds of a correction; feedback beyond them is an error of whoever gave it.
pub const FACTORS: RangeInclusive<f64> = 0.05..=20.0;

/// The margin until a pair has shown its own: what 95 % of the texts that the prices were not fitted to stay
/// below, rounded up.
pub const COLD_MARGIN: f64 = 0.15;

/// The most that is reserved above the corrected estimate.
pub const MAX_MARGIN: f64 = 0.5;

/// The output expected of a pair that has not answered often enough.
pub const COLD_OUTPUT: u64 = 1024;

/// The share of a new ratio in the correction, after the first few, which count equally.
const ALPHA: f64 = 0.1;

/// One ratio counts at most as this many times the factor, or its inverse: a wrong one then does little, and a
/// real change is still followed.
const MOST_CHANGE: f64 = 4.0;

/// Fewer ratios, or outputs, than this say nothing about a 95th percentile.
const ENOUGH: usize = 8;

/// Longer than any model answers; what is above is cut to it.
const LONGEST_OUTPUT: u32 = 1 << 20;

/// What is known of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Who calls it, in the words of the application.
    pub caller: String,
    /// Calls whose input or output was observed.
    pub calls: u64,
    /// Real over counted input tokens.
    pub factor: f64,
    /// The mean of |corrected - real| / real, the recent more than the old; unknown before the second input.
    pub mean_error: Option<f64>,
    /// The 95th percentile of the same over the last 64.
    pub error_p95: Option<f64>,
    /// What a reservation adds to the corrected estimate, as a share of it.
    pub margin: f64,
    /// The 95th percentile of the last 64 outputs; unknown before the first.
    pub output_p95: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) last_use: u64,
    pub(super) calls: u64,
    inputs: u32,
    factor: f64,
    mean_error: f64,
    /// Real over corrected, before each correction learned from it.
    ratios: Recent<f64>,
    margin: f64,
    outputs: Recent<u32>,
    output_p95: u64,
}

impl Pair {
    pub(super) fn new() -> Self {
        Self {
            last_use: 0,
            calls: 0,
            inputs: 0,
            factor: 1.0,
            mean_error: 0.0,
            ratios: Recent::new(),
            margin: COLD_MARGIN,
            outputs: Recent::new(),
            output_p95: 0,
        }
    }

    pub(super) fn corrected(&self, counted: u64) -> u64 {
        scaled(counted, self.factor)
    }

    pub(super) fn reservation(&self, counted: u64) -> u64 {
        scaled(counted, self.factor * (1.0 + self.margin))
    }

    /// The quantile once it says something; until then the cold start, or what was longer.
    pub(super) fn output(&self) -> u64 {
        if self.outputs.len() < ENOUGH { self.output_p95.max(COLD_OUTPUT) } else { self.output_p95 }
    }

    /// Learns a ratio; 0 on either side is no measurement.
    pub(super) fn input(&mut self, counted: u64, real: u64) {
        if counted == 0 || real == 0 {
            return;
        }
        let ratio = float(real) / float(counted);
        // The first ratio says what the factor is, not how well it was known.
        if self.inputs > 0 {
            self.judge(ratio / self.factor);
        }
        self.inputs = self.inputs.saturating_add(1);
        let share = ALPHA.max(1.0 / f64::from(self.inputs));
        let ratio = ratio.clamp(self.factor / MOST_CHANGE, self.factor * MOST_CHANGE);
        self.factor = (self.factor + share * (ratio - self.factor)).clamp(*FACTORS.start(), *FACTORS.end());
    }

    pub(super) fn output_seen(&mut self, real: u64) {
        self.outputs.push(u32::try_from(real).unwrap_or(u32::MAX).min(LONGEST_OUTPUT));
        self.output_p95 = u64::from(self.outputs.p95(|output| output));
    }

    /// Notes how far off the corrected estimate was: `ratio` is real over corrected.
    fn judge(&mut self, ratio: f64) {
        let error = (1.0 / ratio - 1.0).abs().min(1.0);
        let share = ALPHA.max(1.0 / f64::from(self.inputs));
        self.mean_error += share * (error - self.mean_error);
        self.ratios.push(ratio);
        if self.ratios.len() >= ENOUGH {
            self.margin = (self.ratios.p95(|ratio| ratio) - 1.0).clamp(0.0, MAX_MARGIN);
        }
    }

    pub(super) fn report(&self, model: &str, caller: &str) -> Report {
        let judged = self.ratios.len() > 0;
        Report {
            model: model.to_owned(),
            caller: caller.to_owned(),
            calls: self.calls,
            factor: self.factor,
            mean_error: judged.then_some(self.mean_error),
            error_p95: judged.then(|| self.ratios.p95(|ratio| (1.0 / ratio - 1.0).abs().min(1.0))),
            margin: self.margin,
            output_p95: (self.outputs.len() > 0).then_some(self.output_p95),
        }
    }
}

/// `counted` x `factor`, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive; a cast of floats saturates"
)]
pub(super) fn scaled(counted: u64, factor: f64) -> u64 {
    (float(counted) * factor).ceil() as u64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no 53 bits")]
fn float(tokens: u64) -> f64 {
    tokens as f64
}

/// The last [`RECENT`] values.
#[derive(Clone, Debug)]
struct Recent<T>(VecDeque<T>);

impl<T: Copy> Recent<T> {
    fn new() -> Self {
        Self(VecDeque::new())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, value: T) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The smallest measure that 95 % do not exceed; there must be one.
    fn p95<M: Copy + PartialOrd>(&self, measure: impl Fn(T) -> M) -> M {
        let mut values: Vec<M> = self.0.iter().map(|value| measure(*value)).collect();
        let rank = (values.len() * 95).div_ceil(100) - 1;
        *values.select_nth_unstable_by(rank, |a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)).1
    }
}
