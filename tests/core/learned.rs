//! Limits learned from what providers tell, and a queue that drains whatever they tell or refuse.

use std::time::Duration;

use proptest::prelude::*;
use ratekeeper::clock::Time;
use ratekeeper::error::Error;
use ratekeeper::limiter::{Admission, Lease, Request};
use ratekeeper::pace::{Refusal, Setback, Told};
use ratekeeper::quota::{Amounts, Dimension, MAX_AMOUNT};
use ratekeeper::store::Source;

use crate::callers::Trial;
use crate::provider::{MINUTE, Provider};
use crate::world::{Place, World, quota, request, tokens};

const PATIENCE: Duration = Duration::from_mins(2);

fn requests(limit: u64, remaining: u64) -> Told {
    let (limit, remaining) = (Some(limit), Some(remaining));
    Told { dimension: Dimension::Requests, period: Some(MINUTE), limit, remaining, rounded_to: 1 }
}

fn answered(world: &World, place: &Place, told: Told) {
    let lease = world.lease(place, tokens(1));
    world.limiter.learn(&lease, &[told]).unwrap();
    world.limiter.settle(&lease, &tokens(1)).unwrap();
}

#[test]
fn nothing_configured_is_few_calls_at_once_until_the_first_answer_tells_the_limit() {
    let (world, model) = World::with(&quota(0, 0, 0));
    world.limiter.be_careful(model.scope).unwrap();
    let first: Vec<Lease> = (0..8).map(|_| world.lease(&model, tokens(1))).collect();
    world.queued(&model, 1, tokens(1));
    world.limiter.learn(&first[0], &[requests(600, 599)]).unwrap();
    assert_eq!(world.started(), [1]);
    let status = world.status(&model).scope;
    assert_eq!((status.adapted_concurrency, status.limits[0].source), (None, Source::Learned));
    // Seven more were on their way when the provider counted 599, and one has started since.
    assert_eq!(status.limits[0].remaining, 599 - 8);
}

#[test]
fn less_than_was_thought_to_remain_is_in_force_at_once() {
    let (world, model) = World::with(&quota(600, 0, 0));
    answered(&world, &model, requests(600, 20));
    assert_eq!(world.remaining(&model), [20]);
}

#[test]
fn more_than_was_thought_to_remain_is_taken_when_it_has_been_so_for_a_minute() {
    let (world, model) = World::with(&quota(600, 0, 0));
    world.lease(&model, Amounts { requests: 600, ..Amounts::default() });
    for second in 0..=60 {
        world.advance(1.0);
        answered(&world, &model, requests(600, 500));
        assert!(second == 60 || world.remaining(&model)[0] <= 10 * (second + 1), "after {second} s");
    }
    assert!(world.remaining(&model)[0] > 300);
}

#[test]
fn the_smaller_of_what_is_configured_and_what_is_told_is_in_force() {
    let (world, model) = World::with(&quota(600, 0, 0));
    for (told, in_force, source) in [(300, 300, Source::Learned), (900, 600, Source::Configured)] {
        world.advance(60.0);
        answered(&world, &model, requests(told, told));
        let limit = world.status(&model).scope.limits.remove(0);
        assert_eq!((limit.limit.amount(), limit.source, limit.configured), (in_force, source, Some(600)));
    }
}

#[test]
fn a_tenants_cap_learns_nothing() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let cap = world.limiter.cap("cap", &quota(60, 0, 0)).unwrap();
    let path = model.path.with(cap).unwrap();
    let lease = world
        .limiter
        .try_acquire(&Request { path: &path, tenant: "a", ..request(&model, tokens(1)) })
        .unwrap();
    world.limiter.learn(&lease, &[requests(300, 10)]).unwrap();
    let cap = world.limiter.status(cap).unwrap().scope.limits.remove(0);
    assert_eq!((cap.limit.amount(), cap.remaining, cap.source), (60, 59, Source::Configured));
    assert_eq!(world.status(&model).scope.limits[0].limit.amount(), 300);
}

#[test]
fn with_others_on_the_same_key_hardly_a_call_is_sent_in_vain() {
    for seed in 0..10 {
        let provider = Provider { names_wait: true, ..Provider::bucket(600.0) };
        let trial = Trial { provider, told: Some(600), change: None, lasts: MINUTE * 10, others: 5.0 };
        let outcome = trial.run(seed);
        assert!(outcome.refused_share() < 0.05, "{outcome:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { amount: u64, patience: Option<u64> },
    Refuse { which: usize, told: Option<u64>, dimension: Option<Dimension>, random: f64 },
    Fail { which: usize, is_overload: bool },
    Settle { which: usize },
    Learn { which: usize, told: Told },
    Pass { nanos: u64 },
}

fn number() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(prop_oneof![
        Just(0),
        1..1_000u64,
        Just(MAX_AMOUNT),
        Just(MAX_AMOUNT + 1),
        Just(u64::MAX),
        any::<u64>()
    ])
}

fn dimension() -> impl Strategy<Value = Dimension> {
    prop::sample::select([&Dimension::RATES[..], &[Dimension::Concurrency]].concat())
}

fn told() -> impl Strategy<Value = Told> {
    let period =
        prop::option::of(prop_oneof![Just(0), Just(60_000_000_000), Just(86_400_000_000_000), any::<u64>()]);
    (dimension(), period, number(), number(), prop_oneof![Just(0), Just(1), 1..1_000u64, any::<u64>()])
        .prop_map(|(dimension, period, limit, remaining, rounded_to)| Told {
            dimension,
            period: period.map(Duration::from_nanos),
            limit,
            remaining,
            rounded_to,
        })
}

fn faults() -> impl Strategy<Value = Vec<Step>> {
    let which = || 0..1_000usize;
    let ask = (1..400u64, prop::option::of(0..20_000_000_000u64));
    let wait = prop::option::of(prop_oneof![8 => 0..100_000_000_000u64, 1 => any::<u64>()]);
    let refuse = (which(), wait, prop::option::of(dimension()), 0.0..1.0f64);
    prop::collection::vec(
        prop_oneof![
            6 => ask.prop_map(|(amount, patience)| Step::Ask { amount, patience }),
            2 => refuse.prop_map(|(which, told, dimension, random)| Step::Refuse { which, told, dimension, random }),
            1 => (which(), any::<bool>()).prop_map(|(which, is_overload)| Step::Fail { which, is_overload }),
            2 => which().prop_map(|which| Step::Settle { which }),
            3 => (0..500_000_000u64).prop_map(|nanos| Step::Pass { nanos }),
            1 => (0..100_000_000_000u64).prop_map(|nanos| Step::Pass { nanos }),
        ],
        1..80,
    )
}

fn faults_and_headers() -> impl Strategy<Value = Vec<Step>> {
    let learn = (0..1_000usize, told()).prop_map(|(which, told)| Step::Learn { which, told });
    (faults(), prop::collection::vec(learn, 1..20)).prop_map(|(faults, learns)| {
        let every = faults.len() / learns.len() + 1;
        let mut learns = learns.into_iter();
        faults
            .chunks(every)
            .flat_map(|chunk| chunk.iter().cloned().chain(learns.next()).collect::<Vec<_>>())
            .collect()
    })
}

struct Run {
    world: World,
    model: Place,
    held: Vec<Lease>,
    waiting: usize,
    /// Nobody may start before this.
    paused_until: Time,
    asked: u64,
}

impl Run {
    fn new(rpm: u64, is_careful: bool) -> Self {
        let (world, model) = World::with(&quota(rpm, 0, 0));
        if is_careful {
            world.limiter.be_careful(model.scope).unwrap();
        }
        Self { world, model, held: Vec::new(), waiting: 0, paused_until: Time::ZERO, asked: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Ask { amount, patience } => self.ask(*amount, *patience),
            Step::Pass { nanos } => self.world.clock.advance(Duration::from_nanos(*nanos)),
            _ if self.held.is_empty() => {}
            Step::Learn { which, told } => {
                let lease = &self.held[which % self.held.len()];
                self.world.limiter.learn(lease, &[*told]).ok();
            }
            Step::Refuse { which, told, dimension, random } => {
                self.refuse(*which, *told, *dimension, *random);
            }
            Step::Fail { which, is_overload } => {
                let lease = self.held.swap_remove(which % self.held.len());
                let setback = if *is_overload { Setback::Overloaded } else { Setback::Other };
                self.world.limiter.fail(&lease, lease.amounts(), &setback).ok();
            }
            Step::Settle { which } => {
                let lease = self.held.swap_remove(which % self.held.len());
                self.world.limiter.settle(&lease, lease.amounts()).ok();
            }
        }
        self.poll();
    }

    fn ask(&mut self, amount: u64, patience: Option<u64>) {
        let deadline = patience.map(|nanos| self.world.now() + Duration::from_nanos(nanos));
        self.asked += amount;
        match self.world.limiter.acquire(&Request { deadline, ..request(&self.model, tokens(amount)) }, || 0)
        {
            Ok(Admission::Granted(lease)) => self.start(lease),
            Ok(Admission::Queued { .. }) => self.waiting += 1,
            Err(Error::NeverFits(misfit)) => panic!("{misfit}"),
            Err(_) => {}
        }
        if let Ok(lease) = self.world.limiter.try_acquire(&request(&self.model, tokens(amount))) {
            self.start(lease);
        }
    }

    fn refuse(&mut self, which: usize, told: Option<u64>, dimension: Option<Dimension>, random: f64) {
        let lease = self.held.swap_remove(which % self.held.len());
        let retry_after = told.map(Duration::from_nanos);
        let refusal = Refusal { dimension, period: None, retry_after, patience: PATIENCE, random };
        if self.world.limiter.fail(&lease, &Amounts::default(), &Setback::Refused(refusal)).is_ok() {
            let wait = retry_after.unwrap_or_default();
            let wait = if wait > PATIENCE { MINUTE } else { wait };
            self.paused_until = self.paused_until.max(self.world.now() + wait);
        }
    }

    fn start(&mut self, lease: Lease) {
        assert!(self.world.now() >= self.paused_until, "somebody starts inside a pause");
        self.held.push(lease);
    }

    fn poll(&mut self) {
        for (_, result) in self.world.limiter.poll().done {
            self.waiting -= 1;
            match result {
                Ok(lease) => self.start(lease),
                Err(Error::NeverFits(misfit)) => panic!("{misfit}"),
                Err(_) => {}
            }
        }
    }

    /// How long the queue takes at most: by the limits as they stand, since without refusals none falls.
    fn longest(&self) -> Duration {
        let status = self.world.status(&self.model);
        let pause = status.scope.paused_until.map_or(Duration::ZERO, |until| until.since(status.now));
        let limits = status.scope.limits.iter().map(|limit| {
            let asked = u32::try_from(self.asked).unwrap();
            let per_unit = limit.limit.period().as_secs_f64() / amount(limit.limit.amount());
            limit
                .full_at
                .since(status.now)
                .saturating_add(Duration::from_secs_f64(per_unit * f64::from(asked)))
        });
        limits.fold(pause, Duration::saturating_add).saturating_add(MINUTE)
    }

    /// The provider goes silent: all calls in flight succeed, and those who wait are let go one after the other.
    fn run_out(&mut self) -> Duration {
        let began = self.world.now();
        for _ in 0..10_000 {
            for lease in std::mem::take(&mut self.held) {
                self.world.limiter.settle(&lease, lease.amounts()).ok();
            }
            self.poll();
            match self.world.limiter.wake_at() {
                Some(wake_at) if self.held.is_empty() => self.world.clock.advance_to(wake_at),
                None if self.held.is_empty() => break,
                _ => {}
            }
        }
        assert_eq!(self.waiting, 0, "everybody is let go or refused");
        self.world.now().since(began)
    }
}

#[expect(clippy::cast_precision_loss, reason = "no limit is that exact")]
fn amount(amount: u64) -> f64 {
    amount as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn after_every_pattern_of_refusals_the_queue_drains_at_a_call_a_minute_at_least(
        rpm in prop_oneof![Just(0u64), 1..1_000u64], is_careful: bool, steps in faults(),
    ) {
        let mut run = Run::new(rpm, is_careful);
        for step in &steps {
            run.take(step);
        }
        let waiting = u32::try_from(run.waiting).unwrap();
        prop_assert!(run.run_out() <= PATIENCE + MINUTE * 2 * (waiting + 2));
    }

    #[test]
    fn whatever_is_told_and_refused_the_queue_drains_and_no_limit_leaves_its_bounds(
        rpm in prop_oneof![Just(0u64), 1..1_000u64], is_careful: bool, steps in faults_and_headers(),
    ) {
        let mut run = Run::new(rpm, is_careful);
        for step in &steps {
            run.take(step);
            for limit in run.world.status(&run.model).scope.limits {
                prop_assert!((1..=limit.configured.unwrap_or(MAX_AMOUNT)).contains(&limit.limit.amount()));
                prop_assert!((1..=MAX_AMOUNT).contains(&limit.limit.burst()));
            }
        }
        let longest = run.longest();
        prop_assert!(run.run_out() <= longest);
    }
}
