//! A provider in virtual time: what it grants, how it counts, and what it tells.

use std::collections::VecDeque;
use std::time::Duration;

use ratekeeper::clock::Time;
use ratekeeper::pace::Told;
use ratekeeper::quota::Dimension;

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// A generator without a seed from outside, so that every run is the same.
#[derive(Clone)]
pub(crate) struct Noise(pub u64);

impl Noise {
    /// Evenly spread from 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).expect("32 bits are left")) / f64::from(u32::MAX)
    }

    /// Evenly spread from nothing to that.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.share())
    }
}

/// How requests are counted.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// What a bucket holds, and when that was.
    Bucket(f64, Time),
    /// What was used in a window, and when the window began.
    Fixed(f64, Time),
    /// What was used in the last minute.
    Sliding(VecDeque<Time>),
}

/// Grants so many requests a minute.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub limit: f64,
    pub shape: Shape,
    pub has_headers: bool,
    pub names_wait: bool,
    pub charges_refusals: bool,
    /// What a bucket holds, as a share of the limit.
    pub burst: f64,
}

/// A provider's word on one request.
pub(crate) struct Verdict {
    pub is_accepted: bool,
    pub retry_after: Option<Duration>,
    pub told: Vec<Told>,
}

impl Provider {
    pub(crate) fn bucket(a_minute: f64) -> Self {
        let shape = Shape::Bucket(a_minute, Time::ZERO);
        let (has_headers, names_wait, charges_refusals) = (true, true, false);
        Self { limit: a_minute, shape, has_headers, names_wait, charges_refusals, burst: 1.0 }
    }

    /// What is left now; below zero for a debt.
    pub(crate) fn remaining(&mut self, now: Time) -> f64 {
        let (limit, burst) = (self.limit, self.burst);
        match &mut self.shape {
            Shape::Bucket(level, at) => {
                *level = (*level + now.since(*at).as_secs_f64() * limit / 60.0).min(limit * burst);
                *at = now;
                *level
            }
            Shape::Fixed(used, start) => {
                if now.since(*start) >= MINUTE {
                    *start = Time::from_nanos(now.nanos() - now.nanos() % nanos(MINUTE));
                    *used = 0.0;
                }
                limit - *used
            }
            Shape::Sliding(log) => {
                while log.front().is_some_and(|first| now.since(*first) >= MINUTE) {
                    log.pop_front();
                }
                limit - count(log.len())
            }
        }
    }

    /// One request arrives.
    pub(crate) fn ask(&mut self, now: Time) -> Verdict {
        let is_accepted = self.remaining(now) > 1.0 - 1e-9;
        if is_accepted || self.charges_refusals {
            self.charge(now);
        }
        let retry_after = (!is_accepted && self.names_wait).then(|| self.wait(now));
        let told = if self.has_headers { vec![self.tell(now)] } else { Vec::new() };
        Verdict { is_accepted, retry_after, told }
    }

    /// One request is used, by whomever; a debt is at most a minute's amount.
    pub(crate) fn charge(&mut self, now: Time) {
        let (limit, left) = (self.limit, self.remaining(now));
        match &mut self.shape {
            _ if left <= -limit => {}
            Shape::Bucket(level, _) => *level -= 1.0,
            Shape::Fixed(used, _) => *used += 1.0,
            Shape::Sliding(log) => log.push_back(now),
        }
    }

    pub(crate) fn resize(&mut self, factor: f64, now: Time) {
        self.remaining(now);
        self.limit *= factor;
        self.remaining(now);
    }

    /// Until there is room for one, in whole seconds, as headers tell it.
    fn wait(&mut self, now: Time) -> Duration {
        let missing = 1.0 - self.remaining(now);
        let exact = match &self.shape {
            Shape::Bucket(..) => missing * 60.0 / self.limit,
            Shape::Fixed(_, start) => (*start + MINUTE).since(now).as_secs_f64(),
            Shape::Sliding(log) => {
                let freeing = log.get(whole(missing.max(1.0)) - 1).copied();
                freeing.map_or(0.0, |at| (at + MINUTE).since(now).as_secs_f64())
            }
        };
        Duration::from_secs_f64(exact.ceil().max(1.0))
    }

    fn tell(&mut self, now: Time) -> Told {
        Told {
            dimension: Dimension::Requests,
            period: Some(MINUTE),
            limit: Some(whole(self.limit) as u64),
            remaining: Some(whole(self.remaining(now).max(0.0)) as u64),
            rounded_to: 1,
        }
    }
}

pub(crate) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).expect("a short time")
}

#[expect(clippy::cast_precision_loss, reason = "small")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
pub(crate) fn whole(number: f64) -> usize {
    number.floor() as usize
}
