//! One limiter: all or none, leases, deadlines, and what it says of itself.

use std::time::Duration;

use ratekeeper::clock::Time;
use ratekeeper::error::{Ended, Error};
use ratekeeper::limiter::{Admission, Request};
use ratekeeper::quota::{Amounts, Dimension};

use crate::world::{LEASE_TTL, World, quota, request, tokens};

#[test]
fn a_call_takes_all_dimensions_or_none() {
    let (world, model) = World::with(&quota(100, 1_000, 0));
    world.lease(&model, tokens(900));
    assert_eq!(world.remaining(&model), [99, 100]);
    assert!(world.limiter.try_acquire(&request(&model, tokens(200))).is_err());
    assert_eq!(world.remaining(&model), [99, 100]);
}

#[test]
fn a_call_takes_all_scopes_or_none() {
    let world = World::new();
    let account = world.place("account", &quota(100, 1_000, 0), None);
    let model = world.place("model", &quota(100, 5_000, 0), Some(&account));
    world.lease(&model, tokens(900));
    assert!(world.limiter.try_acquire(&request(&model, tokens(200))).is_err());
    assert_eq!(world.remaining(&account), [99, 100]);
    assert_eq!(world.remaining(&model), [99, 4_100]);
}

#[test]
fn settling_gives_back_what_was_not_used_and_charges_what_was_used_beyond() {
    let (world, model) = World::with(&quota(100, 1_000, 0));
    let (frugal, lavish) = (world.lease(&model, tokens(400)), world.lease(&model, tokens(400)));
    world.limiter.settle(&frugal, &tokens(100)).unwrap();
    assert_eq!(world.remaining(&model), [98, 500]);
    world.limiter.settle(&lavish, &tokens(1_100)).unwrap();
    assert_eq!(world.remaining(&model), [98, -200]);
}

#[test]
fn a_lease_ends_once() {
    let (world, model) = World::with(&quota(0, 0, 1));
    let lease = world.lease(&model, tokens(1));
    world.limiter.settle(&lease, &tokens(1)).unwrap();
    assert_eq!(world.limiter.settle(&lease, &tokens(1)), Err(Error::LeaseEnded(Ended::Over)));
    let next = world.lease(&model, tokens(1));
    assert_eq!(world.limiter.settle(&lease, &tokens(1)), Err(Error::LeaseEnded(Ended::Over)));
    world.limiter.settle(&next, &tokens(1)).unwrap();
}

#[test]
fn a_silent_holder_loses_its_permit_to_whoever_waits() {
    let (world, model) = World::with(&quota(0, 0, 1));
    let lease = world.lease(&model, tokens(1));
    world.queued(&model, 1, tokens(1));
    world.clock.advance_to(Time::ZERO + LEASE_TTL.saturating_sub(Duration::from_nanos(1)));
    assert!(world.started().is_empty());
    assert_eq!(world.limiter.wake_at(), Some(world.now() + Duration::from_nanos(1)));
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(world.started(), [1]);
    assert_eq!(world.limiter.settle(&lease, &tokens(1)), Err(Error::LeaseEnded(Ended::Expired)));
}

#[test]
fn a_renewed_lease_keeps_its_permit() {
    let (world, model) = World::with(&quota(0, 0, 1));
    let lease = world.lease(&model, tokens(1));
    world.queued(&model, 1, tokens(1));
    world.clock.advance(LEASE_TTL / 2);
    world.limiter.renew(&lease).unwrap();
    world.clock.advance(LEASE_TTL / 2);
    assert!(world.started().is_empty());
    world.limiter.settle(&lease, &tokens(1)).unwrap();
    assert_eq!(world.started(), [1]);
}

#[test]
fn what_can_never_fit_is_told_at_once_even_behind_a_queue() {
    let (world, model) = World::with(&quota(0, 1_000, 0));
    world.lease(&model, tokens(1_000));
    world.queued(&model, 1, tokens(1));
    match world.acquire(&model, 2, tokens(1_001)) {
        Err(Error::NeverFits(misfit)) => assert_eq!((misfit.amount, misfit.limit), (1_001, 1_000)),
        other => panic!("expected NeverFits, got {other:?}"),
    }
}

#[test]
fn a_deadline_that_cannot_be_met_is_told_at_once() {
    let (world, model) = World::with(&quota(60, 0, 0));
    world.lease(&model, Amounts { requests: 60, ..Amounts::default() });
    let until = |seconds| Request {
        deadline: Some(world.now() + Duration::from_secs(seconds)),
        ..request(&model, tokens(1))
    };
    assert!(matches!(world.limiter.acquire(&until(0), || 1), Err(Error::QuotaExceeded(_))));
    world.queue(&until(1), 1);
    // Behind the first: no sooner than in two seconds.
    match world.limiter.acquire(&until(1), || 2) {
        Err(Error::QuotaExceeded(shortage)) => {
            assert_eq!((&*shortage.scope, shortage.dimension), ("model", Dimension::Requests));
            assert_eq!(shortage.retry_after, Some(Duration::from_secs(2)));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    world.queue(&until(2), 2);
    world.advance(1.0);
    assert_eq!(world.started(), [1]);
}

#[test]
fn a_deadline_that_passes_while_a_permit_is_held_refuses_the_call_and_lets_the_next_go_on_waiting() {
    let (world, model) = World::with(&quota(0, 0, 1));
    let lease = world.lease(&model, tokens(1));
    let deadline = Some(world.now() + Duration::from_secs(1));
    world.queue(&Request { deadline, ..request(&model, tokens(1)) }, 1);
    world.queued(&model, 2, tokens(1));
    assert_eq!(world.limiter.wake_at(), deadline);
    world.advance(1.0);
    let refused = world.limiter.poll().done;
    assert!(
        matches!(&refused[..], [(1, Err(Error::QuotaExceeded(shortage)))] if shortage.retry_after.is_none())
    );
    world.limiter.settle(&lease, &tokens(1)).unwrap();
    assert_eq!(world.started(), [2]);
}

#[test]
fn the_head_is_told_why_and_until_when_it_waits() {
    let world = World::new();
    let account = world.place("account", &quota(0, 600, 0), None);
    let model = world.place("model", &quota(60, 0, 0), Some(&account));
    world.lease(&model, tokens(600));
    world.queued(&model, 1, tokens(60));
    let head = world.status(&model).head.unwrap();
    assert_eq!((&*head.scope, head.dimension), ("account", Dimension::Tokens));
    assert_eq!(head.ready_at, Some(world.now() + Duration::from_secs(6)));
    assert_eq!(world.limiter.wake_at(), head.ready_at);
}

#[test]
fn another_quota_in_mid_run_is_followed_at_once() {
    let (world, model) = World::with(&quota(1, 0, 0));
    world.lease(&model, tokens(1));
    world.queued(&model, 1, tokens(1));
    world.limiter.configure("model", &quota(10, 0, 0)).unwrap();
    assert_eq!(world.started(), [1]);
}

#[test]
fn a_fork_child_starts_with_free_permits_and_an_empty_queue() {
    let (world, model) = World::with(&quota(0, 0, 1));
    let inherited = world.lease(&model, tokens(1));
    world.queued(&model, 1, tokens(1));
    assert_eq!(world.limiter.forget(), [1]);
    let own = world.lease(&model, tokens(1));
    assert!(world.limiter.settle(&inherited, &tokens(1)).is_err());
    world.limiter.settle(&own, &tokens(1)).unwrap();
    assert!(matches!(world.acquire(&model, 2, tokens(1)), Ok(Admission::Granted(_))));
}
