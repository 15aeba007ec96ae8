//! Fifty callers of a provider in virtual time, each with its next call when the last is answered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ratekeeper::clock::Time;
use ratekeeper::limiter::{Admission, Lease, Request};
use ratekeeper::pace::{Refusal, Setback};
use ratekeeper::quota::{Amounts, Dimension, Quota};

use crate::provider::{MINUTE, Noise, Provider, Verdict, count};
use crate::world::{Place, World, request, tokens};

pub(crate) const CALLERS: u32 = 50;
pub(crate) const LATENCY: Duration = Duration::from_millis(250);
/// Without the ways there and back.
const ANSWERED_IN: Duration = Duration::from_millis(240);
const REFUSED_IN: Duration = Duration::from_millis(5);
const LONGEST_WAY: Duration = Duration::from_millis(10);

/// What came of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub sent: u32,
    pub refused: u32,
    /// Of what could be accepted at best.
    pub share: f64,
    /// The most refusals of one call.
    pub most_refusals: u32,
}

impl Outcome {
    pub(crate) fn refused_share(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.sent.max(1))
    }
}

/// What is tried.
#[derive(Clone)]
pub(crate) struct Trial {
    pub provider: Provider,
    /// Requests a minute that the limiter is told; None for nothing.
    pub told: Option<u64>,
    /// When the provider's limit changes, and by what factor.
    pub change: Option<(Duration, f64)>,
    pub lasts: Duration,
    /// Requests a second that others make of the same quota, at random.
    pub others: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Change,
    Other,
    Arrives(u32),
    Answered(u32),
}

#[derive(Default)]
struct Caller {
    lease: Option<Lease>,
    verdict: Option<Verdict>,
    since: Option<Time>,
    refusals: u32,
}

pub(crate) struct Run {
    world: World,
    place: Place,
    provider: Provider,
    callers: Vec<Caller>,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    events_made: u64,
    noise: Noise,
    outcome: Outcome,
    factor: f64,
    others: f64,
}

impl Trial {
    /// What comes of it; the seed decides how long requests are on their way.
    pub(crate) fn run(&self, seed: u64) -> Outcome {
        let quota =
            self.told.map_or(Quota::new(Vec::new(), None).unwrap(), |rpm| crate::world::quota(rpm, 0, 0));
        let (world, place) = World::with(&quota.with_headroom(LATENCY));
        world.limiter.be_careful(place.scope).unwrap();
        let mut run = Run {
            world,
            place,
            provider: self.provider.clone(),
            callers: (0..CALLERS).map(|_| Caller::default()).collect(),
            events: BinaryHeap::new(),
            events_made: 0,
            noise: Noise(seed),
            outcome: Outcome::default(),
            factor: self.change.map_or(1.0, |(_, factor)| factor),
            others: self.others,
        };
        if self.others > 0.0 {
            run.at(Time::ZERO, Event::Other);
        }
        if let Some((at, _)) = self.change {
            run.at(Time::ZERO + at, Event::Change);
        }
        run.go(Time::ZERO + self.lasts);
        let accepted = f64::from(run.outcome.sent - run.outcome.refused);
        Outcome { share: accepted / self.ideal(), ..run.outcome }
    }

    /// What a provider can accept of callers who know its mind.
    fn ideal(&self) -> f64 {
        let (mut provider, mut change, mut accepted) = (self.provider.clone(), self.change, 0);
        let step = LATENCY / CALLERS;
        let mut now = Time::ZERO;
        while now < Time::ZERO + self.lasts {
            if let Some((_, factor)) = change.take_if(|(at, _)| now >= Time::ZERO + *at) {
                provider.resize(factor, now);
            }
            if provider.remaining(now) >= 1.0 {
                provider.charge(now);
                accepted += 1;
            }
            now = now + step;
        }
        count(accepted)
    }
}

impl Run {
    fn go(&mut self, end: Time) {
        for who in 0..CALLERS {
            self.call(who);
        }
        loop {
            let next = self.events.peek().map(|Reverse((at, ..))| *at);
            let wake_at = self.world.limiter.wake_at();
            let Some(now) = [next, wake_at].into_iter().flatten().min().filter(|now| *now < end) else {
                return;
            };
            self.world.clock.advance_to(now);
            if next == Some(now)
                && let Some(Reverse((.., event))) = self.events.pop()
            {
                self.happens(event, now);
            }
            self.poll();
        }
    }

    fn happens(&mut self, event: Event, now: Time) {
        match event {
            Event::Change => self.provider.resize(self.factor, now),
            Event::Other => {
                self.provider.charge(now);
                let pause = Duration::from_secs_f64(2.0 / self.others).mul_f64(self.noise.share());
                self.at(now + pause, Event::Other);
            }
            Event::Arrives(who) => self.arrives(who, now),
            Event::Answered(who) => self.answered(who),
        }
    }

    fn call(&mut self, who: u32) {
        let asked = Request { since: self.callers[who as usize].since, ..request(&self.place, tokens(100)) };
        if let Admission::Granted(lease) = self.world.limiter.acquire(&asked, || who).unwrap() {
            self.send(who, lease);
        }
    }

    fn poll(&mut self) {
        for (who, result) in self.world.limiter.poll().done {
            self.send(who, result.expect("nobody is refused who has all the time in the world"));
        }
    }

    fn send(&mut self, who: u32, lease: Lease) {
        self.callers[who as usize].lease = Some(lease);
        self.outcome.sent += 1;
        let way = self.noise.up_to(LONGEST_WAY);
        self.at(self.world.now() + way, Event::Arrives(who));
    }

    fn arrives(&mut self, who: u32, now: Time) {
        let verdict = self.provider.ask(now);
        let way = self.noise.up_to(LONGEST_WAY);
        let takes = if verdict.is_accepted { ANSWERED_IN } else { REFUSED_IN };
        self.callers[who as usize].verdict = Some(verdict);
        self.at(now + takes + way, Event::Answered(who));
    }

    fn answered(&mut self, who: u32) {
        let caller = &mut self.callers[who as usize];
        let (lease, verdict) = (caller.lease.take().unwrap(), caller.verdict.take().unwrap());
        let limiter = &self.world.limiter;
        limiter.learn(&lease, &verdict.told).unwrap();
        if verdict.is_accepted {
            limiter.settle(&lease, &tokens(100)).unwrap();
            *caller = Caller::default();
        } else {
            let refusal = Refusal {
                dimension: Some(Dimension::Requests).filter(|_| self.provider.has_headers),
                period: None,
                retry_after: verdict.retry_after,
                patience: MINUTE * 2,
                random: self.noise.share(),
            };
            let sent_at = limiter.fail(&lease, &Amounts::default(), &Setback::Refused(refusal)).unwrap();
            caller.since = caller.since.or(Some(sent_at));
            caller.refusals += 1;
            self.outcome.refused += 1;
            self.outcome.most_refusals = self.outcome.most_refusals.max(caller.refusals);
        }
        self.call(who);
    }

    fn at(&mut self, time: Time, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((time, self.events_made, event)));
    }
}
