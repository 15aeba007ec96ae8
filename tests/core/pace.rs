//! What follows a refusal: one pause for everybody, one cut an episode, and no other scope is touched.

use std::time::Duration;

use proptest::prelude::*;
use ratekeeper::clock::Time;
use ratekeeper::error::Error;
use ratekeeper::limiter::{Lease, Request};
use ratekeeper::pace::{
    Concurrency, LONGEST_GUESS, LONGEST_PROBE_WAIT, LOWEST_RATE, Loss, Pause, Rate, Refusal, Setback,
};
use ratekeeper::quota::{Amounts, Dimension};

use crate::world::{Place, World, quota, request, tokens};

const PATIENCE: Duration = Duration::from_mins(2);
/// The most by which a pause is longer than told.
const LONGEST_SPREAD: Duration = Duration::from_secs(5);

fn refused(retry_after: Option<f64>) -> Refusal {
    let retry_after = retry_after.map(Duration::from_secs_f64);
    Refusal {
        dimension: Some(Dimension::Requests),
        period: None,
        retry_after,
        patience: PATIENCE,
        random: 0.0,
    }
}

fn fail(world: &World, lease: &Lease, retry_after: Option<f64>) -> Time {
    world.limiter.fail(lease, &Amounts::default(), &Setback::Refused(refused(retry_after))).unwrap()
}

fn paused_for(world: &World, place: &Place) -> Option<f64> {
    let status = world.status(place);
    status.scope.paused_until.map(|until| until.since(status.now).as_secs_f64())
}

fn is_paused(result: &Result<Lease, Error>) -> bool {
    matches!(result, Err(Error::Paused(_)))
}

#[test]
fn a_refusal_pauses_everybody_until_the_time_told() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let lease = world.lease(&model, tokens(1));
    fail(&world, &lease, Some(8.0));
    world.queued(&model, 1, tokens(1));
    world.advance(7.999);
    assert!(world.started().is_empty());
    assert!(is_paused(&world.limiter.try_acquire(&request(&model, tokens(1)))));
    world.advance(0.001);
    assert_eq!(world.started(), [1]);
}

#[test]
fn after_a_pause_the_queue_is_paced_and_not_let_go_at_once() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let lease = world.lease(&model, tokens(1));
    fail(&world, &lease, Some(8.0));
    for who in 0..50 {
        world.queued(&model, who, tokens(1));
    }
    world.advance(8.0);
    assert_eq!(world.started().len(), 1);
    world.advance(1.0);
    // Ten a second are configured; a limit that has been refused may have been halved.
    assert!((4..=10).contains(&world.started().len()));
}

#[test]
fn who_cannot_wait_out_a_pause_is_refused_at_once() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let lease = world.lease(&model, tokens(1));
    fail(&world, &lease, Some(8.0));
    let hurried =
        Request { deadline: Some(world.now() + Duration::from_secs(7)), ..request(&model, tokens(1)) };
    assert!(matches!(world.limiter.acquire(&hurried, || 1), Err(Error::Paused(_))));
}

#[test]
fn a_failed_call_stands_before_those_who_came_later() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let lease = world.lease(&model, tokens(1));
    world.advance(1.0);
    let since = fail(&world, &lease, Some(2.0));
    for who in 1..4 {
        world.queued(&model, who, tokens(1));
    }
    world.queue(&Request { since: Some(since), ..request(&model, tokens(1)) }, 0);
    let mut order = Vec::new();
    for _ in 0..40 {
        world.advance(0.1);
        order.extend(world.started());
    }
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn refusals_of_calls_sent_before_the_last_one_do_not_extend_a_pause_by_guesswork() {
    let (world, model) = World::with(&quota(0, 0, 0));
    let leases: Vec<Lease> = (0..20).map(|_| world.lease(&model, tokens(1))).collect();
    world.advance(1.0);
    fail(&world, &leases[0], None);
    let (until, limits) = (paused_for(&world, &model).unwrap(), world.status(&model).scope.limits.len());
    for lease in &leases[1..] {
        fail(&world, lease, None);
    }
    assert_eq!(paused_for(&world, &model), Some(until));
    assert_eq!(world.status(&model).scope.limits.len(), limits);
}

#[test]
fn guesses_double_until_a_call_sent_after_the_last_succeeds() {
    let (world, model) = World::with(&quota(0, 0, 0));
    let episode = || {
        world.advance(61.0);
        let lease = world.lease(&model, tokens(1));
        fail(&world, &lease, None);
        format!("{:.0}", paused_for(&world, &model).unwrap())
    };
    assert_eq!(
        [episode(), episode(), episode(), episode(), episode(), episode()],
        ["1", "2", "4", "8", "16", "16"]
    );
    world.advance(61.0);
    let lease = world.lease(&model, tokens(1));
    world.limiter.settle(&lease, &tokens(1)).unwrap();
    assert_eq!(episode(), "1");
}

#[test]
fn a_pause_beyond_all_patience_refuses_at_once_and_lets_one_call_a_minute_see() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let lease = world.lease(&model, tokens(1));
    fail(&world, &lease, Some(3_600.0));
    assert!(matches!(world.limiter.acquire(&request(&model, tokens(1)), || 1), Err(Error::Paused(shortage))
        if shortage.retry_after == Some(Duration::from_hours(1))));
    let mut probes = 0;
    for _ in 0..600 {
        world.advance(1.0);
        if let Ok(probe) = world.limiter.try_acquire(&request(&model, tokens(1))) {
            probes += 1;
            fail(&world, &probe, Some(3_000.0));
        }
    }
    assert!((9..=10).contains(&probes), "{probes} in ten minutes");
}

#[test]
fn a_refusal_pauses_neither_the_account_nor_its_other_models_nor_a_cap() {
    let world = World::new();
    let account = world.place("account", &quota(600, 0, 0), None);
    let one = world.place("one", &quota(600, 0, 0), Some(&account));
    let two = world.place("two", &quota(600, 0, 0), Some(&account));
    let cap = world.limiter.cap("cap", &quota(60, 0, 0)).unwrap();
    let path = one.path.with(cap).unwrap();
    let capped = Request { path: &path, tenant: "a", ..request(&one, tokens(1)) };
    let lease = world.limiter.try_acquire(&capped).unwrap();
    fail(&world, &lease, Some(30.0));
    assert!(is_paused(&world.limiter.try_acquire(&request(&one, tokens(1)))));
    assert!(world.limiter.try_acquire(&request(&two, tokens(1))).is_ok());
    let status = world.limiter.status(cap).unwrap().scope;
    assert_eq!((status.paused_until, status.limits[0].remaining, status.in_flight), (None, 60, 0));
}

#[test]
fn an_overload_cuts_the_calls_in_flight_and_not_the_rate() {
    let (world, model) = World::with(&quota(600, 0, 0));
    let leases: Vec<Lease> = (0..20).map(|_| world.lease(&model, tokens(1))).collect();
    world.limiter.fail(&leases[0], &tokens(1), &Setback::Overloaded).unwrap();
    let status = world.status(&model).scope;
    assert_eq!(
        (status.adapted_concurrency, status.limits[0].limit.amount(), status.paused_until),
        (Some(14), 600, None)
    );
}

#[derive(Clone, Debug)]
enum Beat {
    Refused { told: Option<u64>, sent_ago: u64, random: f64 },
    Succeeded { sent_ago: u64 },
    Pass(u64),
}

fn beats() -> impl Strategy<Value = Vec<Beat>> {
    let told = prop::option::of(prop_oneof![8 => 0..200_000_000_000u64, 1 => any::<u64>()]);
    let refused = (told, 0..5_000_000_000u64, -0.5..1.5f64);
    prop::collection::vec(
        prop_oneof![
            refused.prop_map(|(told, sent_ago, random)| Beat::Refused { told, sent_ago, random }),
            (0..5_000_000_000u64).prop_map(|sent_ago| Beat::Succeeded { sent_ago }),
            (0..30_000_000_000u64).prop_map(Beat::Pass),
        ],
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_pause_is_never_shortened_and_never_longer_than_it_has_to_be(beats in beats()) {
        let (mut pause, mut now) = (Pause::default(), Time::from_nanos(10_000_000_000));
        for beat in beats {
            let before = pause.until();
            let ago = |nanos: u64| Time::from_nanos(now.nanos().saturating_sub(nanos));
            match beat {
                Beat::Refused { told, sent_ago, random } => {
                    let retry_after = told.map(Duration::from_nanos);
                    let refusal = Refusal { retry_after, random, ..refused(None) };
                    let ready_at = pause.refused(&refusal, ago(sent_ago), now);
                    prop_assert!(pause.told() >= ready_at || retry_after.is_none());
                    let most = retry_after.unwrap_or(LONGEST_GUESS).min(PATIENCE).max(LONGEST_PROBE_WAIT);
                    prop_assert!(pause.until() <= before.max(now + most + LONGEST_SPREAD));
                }
                Beat::Succeeded { sent_ago } => pause.succeeded(ago(sent_ago)),
                Beat::Pass(nanos) => now = now + Duration::from_nanos(nanos),
            }
            prop_assert!(pause.until() >= before);
        }
    }

    #[test]
    fn however_often_it_is_cut_one_call_remains(cuts in prop::collection::vec((0..100u32, any::<bool>()), 1..100), loss in prop::sample::select(vec![Loss::Refused, Loss::Unexplained, Loss::Overloaded])) {
        for start in [Concurrency::careful(), Concurrency::unbounded()] {
            let (mut concurrency, mut now) = (start, Time::ZERO);
            for (in_flight, is_lost) in &cuts {
                now = now + Duration::from_secs(1);
                if *is_lost { concurrency.cut(loss, *in_flight, now, now) } else { concurrency.succeeded(*in_flight, now) }
                prop_assert!(concurrency.limit().is_none_or(|limit| limit >= 1));
            }
        }
    }

    #[test]
    fn a_rate_never_falls_below_a_call_a_minute_nor_rises_far_above_what_was_accepted(
        start in 0.0..1e6f64,
        steps in prop::collection::vec((0..3u8, 1..1_000u64, 0..5_000_000_000u64), 1..200),
    ) {
        let (mut now, mut most) = (Time::ZERO, start.max(1_000.0));
        let mut rate = Rate::new(start, 1_000, now);
        for (kind, amount, nanos) in steps {
            now = now + Duration::from_nanos(nanos);
            match kind {
                0 => rate.granted(amount, now),
                1 => rate.cut(amount, amount % 2 == 0, now),
                _ => rate.refused_late(amount),
            }
            prop_assert!(rate.now() >= LOWEST_RATE * 1_000.0 && rate.now().is_finite());
            most *= 2.0;
            prop_assert!(rate.now() <= most);
        }
    }
}
