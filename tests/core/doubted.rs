//! What refusals and headers must not do: one odd answer moves no limit for long.

use std::time::Duration;

use ratekeeper::pace::{Refusal, Setback, Told};
use ratekeeper::quota::{Amounts, Dimension, Limit, Quota};
use ratekeeper::store::Source;

use crate::world::{Place, World, quota, request, tokens};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// A refusal that tells nothing but, perhaps, how long to wait.
fn bare(retry_after: Option<f64>) -> Refusal {
    let retry_after = retry_after.map(Duration::from_secs_f64);
    Refusal { dimension: None, period: None, retry_after, patience: Duration::MAX, random: 0.0 }
}

fn refuse(world: &World, place: &Place, refusal: Refusal) {
    let lease = world.lease(place, tokens(1));
    world.limiter.fail(&lease, &Amounts::default(), &Setback::Refused(refusal)).unwrap();
}

fn learn(world: &World, place: &Place, told: Told) {
    let lease = world.lease(place, tokens(1));
    world.limiter.learn(&lease, &[told]).unwrap();
    world.limiter.settle(&lease, &tokens(1)).unwrap();
}

fn requests(limit: u64, remaining: u64, period: Duration) -> Told {
    let (limit, remaining) = (Some(limit), Some(remaining));
    Told { dimension: Dimension::Requests, period: Some(period), limit, remaining, rounded_to: 1 }
}

/// A call a second for so long.
fn trickle(world: &World, place: &Place, seconds: u32) {
    for _ in 0..seconds {
        world.advance(1.0);
        if let Ok(lease) = world.limiter.try_acquire(&request(place, tokens(1))) {
            world.limiter.settle(&lease, &tokens(1)).unwrap();
        }
    }
}

#[test]
fn two_odd_refusals_of_little_traffic_cost_little_and_are_forgotten() {
    let (world, model) = World::with(&quota(600, 0, 0));
    for _ in 0..2 {
        trickle(&world, &model, 60);
        refuse(&world, &model, bare(None));
    }
    let limits = world.status(&model).scope.limits;
    assert_eq!(limits.len(), 1, "no limit is invented for what nobody spoke of");
    assert_eq!(limits[0].source, Source::Assumed);
    // A half of what is configured after the first, seven tenths of that after the second; it has grown between them.
    assert!((200..=420).contains(&limits[0].limit.amount()), "{:?}", limits[0].limit);
    trickle(&world, &model, 700);
    let limit = world.status(&model).scope.limits.remove(0);
    assert_eq!((limit.limit.amount(), limit.source), (600, Source::Configured));
}

#[test]
fn a_short_wait_says_nothing_of_the_quota_of_a_day() {
    for (retry_after, is_of_the_day) in [(Some(2.0), false), (None, false), (Some(3_000.0), true)] {
        let day = Limit::new(Dimension::Requests, 1_000, DAY, None).unwrap();
        let (world, model) = World::with(&Quota::new(vec![day], None).unwrap());
        refuse(&world, &model, bare(retry_after));
        let left = world.remaining(&model)[0];
        assert_eq!(left < 100, is_of_the_day, "{left} left after a wait of {retry_after:?} s");
    }
}

#[test]
fn the_limit_of_a_minute_is_found_where_only_that_of_a_day_is_told() {
    let (world, model) = World::with(&quota(0, 0, 0));
    learn(&world, &model, requests(14_400, 14_000, DAY));
    trickle(&world, &model, 30);
    let refusal = Refusal { dimension: Some(Dimension::Requests), period: Some(MINUTE), ..bare(Some(2.0)) };
    refuse(&world, &model, refusal);
    let limits = world.status(&model).scope.limits;
    let of_a_minute: Vec<_> = limits.iter().filter(|limit| limit.limit.period() == MINUTE).collect();
    assert_eq!(of_a_minute.len(), 1);
    assert_eq!(of_a_minute[0].source, Source::Assumed);
    let of_a_day = limits.iter().find(|limit| limit.limit.period() == DAY).unwrap();
    assert!(of_a_day.remaining > 13_000);
}

#[test]
fn a_limit_that_was_told_by_mistake_leaves_no_debt() {
    let (world, model) = World::with(&quota(0, 100_000, 0));
    let mut leases: Vec<_> = (0..50).map(|_| world.lease(&model, tokens(10))).collect();
    let told = |limit, remaining| Told { dimension: Dimension::Tokens, ..requests(limit, remaining, MINUTE) };
    let last = leases.pop().unwrap();
    world.limiter.learn(&last, &[told(1, 0)]).unwrap();
    for lease in &leases {
        world.limiter.settle(lease, &tokens(500)).unwrap();
    }
    world.advance(5.0);
    assert!(world.remaining(&model)[0] < -20_000);
    world.limiter.learn(&last, &[told(100_000, 70_000)]).unwrap();
    assert!(world.remaining(&model)[0] >= 0);
    world.advance(1.0);
    assert!(world.limiter.try_acquire(&request(&model, tokens(1_000))).is_ok());
}

#[test]
fn what_is_configured_anew_is_in_force_at_once() {
    let (world, model) = World::with(&quota(400, 0, 0));
    learn(&world, &model, requests(100, 90, MINUTE));
    world.limiter.configure("model", &quota(800, 0, 0)).unwrap();
    let limit = world.status(&model).scope.limits.remove(0);
    assert_eq!((limit.limit.amount(), limit.source), (800, Source::Configured));
}

#[test]
fn a_wait_of_a_millisecond_that_helps_nobody_is_not_believed_again_and_again() {
    let (world, model) = World::with(&quota(0, 0, 0));
    let mut refusals = 0;
    for _ in 0..6_000 {
        world.advance(0.01);
        if let Ok(lease) = world.limiter.try_acquire(&request(&model, tokens(1))) {
            refusals += 1;
            let refused = Setback::Refused(bare(Some(0.001)));
            world.limiter.fail(&lease, &Amounts::default(), &refused).unwrap();
        }
    }
    // 0.25 s from the second on, doubling: the ninth begins after half a minute.
    assert!(refusals <= 10, "{refusals} in a minute");
}

#[test]
fn however_patient_callers_are_one_looks_after_ten_minutes() {
    let (world, model) = World::with(&quota(600, 0, 0));
    refuse(&world, &model, bare(Some(86_000.0)));
    world.queued(&model, 1, tokens(1));
    world.advance(590.0);
    assert!(world.started().is_empty());
    world.advance(20.0);
    assert_eq!(world.started(), [1]);
}
