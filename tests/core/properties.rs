//! Whatever is reserved, settled, released, cancelled or expires, in any order: what always holds.

use std::time::Duration;

use proptest::prelude::*;
use ratekeeper::clock::Time;
use ratekeeper::error::Result;
use ratekeeper::limiter::{Admission, Lease, Request};
use ratekeeper::queue::Ticket;
use ratekeeper::quota::{Amounts, Dimension, Limit, Quota};

use crate::bucket::keeps_to;
use crate::world::{Place, World, request};

#[derive(Clone, Debug)]
enum Step {
    Ask { model: usize, tenant: usize, priority: i8, amounts: Amounts, patience: Option<u64> },
    Settle { which: usize, percent: u64 },
    Cancel { which: usize },
    Pass { nanos: u64 },
}

fn amounts() -> impl Strategy<Value = Amounts> {
    (0u64..3, 1u64..400, 0u64..200).prop_map(|(requests, input_tokens, output_tokens)| Amounts {
        requests,
        tokens: input_tokens + output_tokens,
        input_tokens,
        output_tokens,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0usize..2, 0usize..4, -2i8..3, amounts(), prop::option::of(0u64..20_000_000_000));
    let ask = ask.prop_map(|(model, tenant, priority, amounts, patience)| Step::Ask {
        model,
        tenant,
        priority,
        amounts,
        patience,
    });
    let settle = (any::<prop::sample::Index>(), 0u64..150)
        .prop_map(|(which, percent)| Step::Settle { which: which.index(1 << 20), percent });
    let cancel = any::<prop::sample::Index>().prop_map(|which| Step::Cancel { which: which.index(1 << 20) });
    let pass = prop_oneof![6 => 0u64..500_000_000, 1 => 0u64..700_000_000_000]
        .prop_map(|nanos| Step::Pass { nanos });
    prop::collection::vec(prop_oneof![5 => ask, 4 => settle, 1 => cancel, 4 => pass], 1..120)
}

fn quotas() -> impl Strategy<Value = Quota> {
    let limit = |dimension| {
        (600u64..3_000, 1_000u64..60_000, 1u64..2).prop_map(move |(amount, millis, _)| {
            Limit::new(dimension, amount, Duration::from_millis(millis), Some(amount)).unwrap()
        })
    };
    let limits = (
        prop::option::of(limit(Dimension::Requests)),
        prop::option::of(limit(Dimension::Tokens)),
        prop::option::of(limit(Dimension::InputTokens)),
        prop::option::of(limit(Dimension::OutputTokens)),
    );
    (limits, prop::option::of(1u32..6)).prop_map(|((a, b, c, d), concurrency)| {
        Quota::new([a, b, c, d].into_iter().flatten().collect(), concurrency).unwrap()
    })
}

/// A run, and the book that is kept of it beside the limiter's own.
struct Run {
    world: World,
    quotas: [Quota; 3],
    models: [Place; 2],
    waiting: Vec<(Ticket, u32)>,
    held: Vec<(Lease, usize)>,
    /// What was taken, when, by which model: corrected when settled.
    taken: Vec<(Time, usize, Amounts)>,
    /// Callers by number, with their model.
    callers: Vec<usize>,
    log: Vec<String>,
}

impl Run {
    fn new(world: World, quotas: [Quota; 3]) -> Self {
        let account = world.place("account", &quotas[0], None);
        let models =
            [world.place("one", &quotas[1], Some(&account)), world.place("two", &quotas[2], Some(&account))];
        let (waiting, held, taken, callers, log) = Default::default();
        Self { world, quotas, models, waiting, held, taken, callers, log }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Ask { model, tenant, priority, amounts, patience } => {
                let deadline = patience.map(|nanos| self.world.now() + Duration::from_nanos(nanos));
                let tenant = ["", "a", "b", "c"][*tenant];
                self.ask(
                    *model,
                    Request {
                        tenant,
                        priority: *priority,
                        deadline,
                        ..request(&self.models[*model].clone(), *amounts)
                    },
                );
            }
            Step::Settle { which, percent } if !self.held.is_empty() => {
                self.settle(which % self.held.len(), *percent);
            }
            Step::Cancel { which } if !self.waiting.is_empty() => {
                let (ticket, who) = self.waiting.remove(which % self.waiting.len());
                assert_eq!(self.world.limiter.cancel(ticket), Some(who));
            }
            Step::Pass { nanos } => self.world.clock.advance(Duration::from_nanos(*nanos)),
            Step::Settle { .. } | Step::Cancel { .. } => {}
        }
        self.poll();
    }

    fn ask(&mut self, model: usize, request: Request<'_>) {
        let who = u32::try_from(self.callers.len()).unwrap();
        self.callers.push(model);
        match self.world.limiter.acquire(&request, || who) {
            Ok(Admission::Granted(lease)) => self.start(who, lease),
            Ok(Admission::Queued { ticket, .. }) => self.waiting.push((ticket, who)),
            Err(error) => self.log.push(format!("{who}: {error}")),
        }
    }

    fn start(&mut self, who: u32, lease: Lease) {
        self.log.push(format!("{who} at {:?}", self.world.now()));
        let model = self.callers[who as usize];
        self.held.push((lease, self.taken.len()));
        self.taken.push((self.world.now(), model, *lease.amounts()));
    }

    fn settle(&mut self, which: usize, percent: u64) {
        let (lease, entry) = self.held.swap_remove(which);
        let share = |amount: u64| amount * percent / 100;
        let reserved = lease.amounts();
        let actual = Amounts {
            requests: reserved.requests,
            tokens: share(reserved.tokens),
            input_tokens: share(reserved.input_tokens),
            output_tokens: share(reserved.output_tokens),
        };
        if self.world.limiter.settle(&lease, &actual).is_err() {
            return; // It had expired: what it reserved stays charged.
        }
        let (at, model, _) = self.taken[entry];
        self.taken[entry] = (at, model, actual.minus(&actual.minus(reserved)));
        self.taken.push((self.world.now(), model, actual.minus(reserved)));
    }

    fn poll(&mut self) {
        let poll = self.world.poll();
        if self.world.has_lost_its_store() {
            return;
        }
        for (who, result) in poll.done {
            self.waiting.retain(|(_, other)| *other != who);
            self.finish(who, result);
        }
        assert!(
            poll.wake_at.is_none_or(|wake_at| wake_at > self.world.now()),
            "nobody is left who could start now"
        );
        assert_eq!(poll.wake_at.is_none(), self.waiting.is_empty());
        let idle = self.world.poll().done.is_empty();
        assert!(idle || self.world.has_lost_its_store(), "never idle while the head fits");
    }

    fn finish(&mut self, who: u32, result: Result<Lease>) {
        match result {
            Ok(lease) => self.start(who, lease),
            Err(error) => self.log.push(format!("{who}: {error}")),
        }
    }

    /// Ends all calls and lets time pass until nobody waits.
    fn run_out(&mut self) {
        for _ in 0..100_000 {
            while !self.held.is_empty() {
                self.settle(0, 100);
            }
            self.poll();
            match self.world.limiter.wake_at() {
                Some(wake_at) if self.held.is_empty() => self.world.advance_to(wake_at),
                None if self.held.is_empty() => break,
                _ => {}
            }
        }
        let is_lost = self.world.has_lost_its_store();
        assert!(self.waiting.is_empty() || is_lost, "everyone is served in finite time");
    }

    fn keeps_to_all_limits(&self) -> bool {
        let scopes = [(0, None), (1, Some(0)), (2, Some(1))];
        scopes.iter().all(|(scope, model)| {
            self.quotas[*scope].limits().iter().all(|limit| {
                // Debts are told apart: they are what the provider counted beyond what was asked for, and cannot be prevented.
                let mut charges: Vec<(Time, u64)> = self
                    .taken
                    .iter()
                    .filter(|(_, other, _)| model.is_none_or(|model| model == *other))
                    .map(|(at, _, amounts)| (*at, amounts.get(limit.dimension())))
                    .collect();
                charges.sort_by_key(|(at, _)| *at);
                keeps_to(limit, &charges)
            })
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_window_of_any_dimension_holds_more_than_its_quota(quotas in [quotas(), quotas(), quotas()], steps in steps()) {
        let mut run = Run::new(World::new(), quotas);
        for step in &steps {
            // Without debts, which come after the fact.
            let step = match step.clone() {
                Step::Settle { which, percent } => Step::Settle { which, percent: percent.min(100) },
                step => step,
            };
            run.take(&step);
        }
        run.run_out();
        prop_assert!(run.keeps_to_all_limits());
    }

    #[test]
    fn whatever_happens_everyone_is_served_and_nothing_stays_behind(quotas in [quotas(), quotas(), quotas()], steps in steps()) {
        let mut run = Run::new(World::new(), quotas);
        for step in &steps {
            run.take(step);
        }
        run.run_out();
        for model in &run.models {
            let status = run.world.status(model);
            prop_assert_eq!((status.scope.in_flight, status.waiting.len()), (0, 0));
        }
    }

    #[test]
    fn the_same_steps_make_the_same_run(quotas in [quotas(), quotas(), quotas()], steps in steps()) {
        let log = |quotas: [Quota; 3]| {
            let mut run = Run::new(World::new(), quotas);
            for step in &steps {
                run.take(step);
            }
            run.log
        };
        prop_assert_eq!(log(quotas.clone()), log(quotas));
    }
}

/// In whole microseconds, as servers count, and without what outlasts a lease.
fn in_micros(step: &Step) -> Step {
    match step.clone() {
        Step::Ask { model, tenant, priority, amounts, patience } => {
            let patience = patience.map(|nanos| nanos / 1_000 * 1_000);
            Step::Ask { model, tenant, priority, amounts, patience }
        }
        Step::Pass { nanos } => Step::Pass { nanos: (nanos % 4_000_000_000) / 1_000 * 1_000 },
        Step::Settle { which, percent } => Step::Settle { which, percent: percent.min(100) },
        Step::Cancel { which } => Step::Cancel { which },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_store_that_is_a_round_trip_away_keeps_to_its_quota_and_serves_everyone(quotas in [quotas(), quotas(), quotas()], steps in steps()) {
        let mut run = Run::new(World::far(), quotas);
        for step in &steps {
            run.take(&in_micros(step));
        }
        // Of a server that did not answer in time nothing is said here.
        prop_assume!(!run.world.has_lost_its_store());
        run.run_out();
        prop_assume!(!run.world.has_lost_its_store());
        prop_assert!(run.keeps_to_all_limits());
        for model in &run.models {
            let status = run.world.status(model);
            prop_assert_eq!((status.scope.in_flight, status.waiting.len()), (0, 0));
        }
    }
}
