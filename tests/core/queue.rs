//! The fair queue: order, shares, no bypass, no starvation; with a store at hand and with one that is a round trip away.

use std::collections::HashMap;
use std::time::Duration;

use ratekeeper::error::Error;
use ratekeeper::limiter::{Admission, Request};
use ratekeeper::queue::PRIORITY_HEAD_START;
use ratekeeper::quota::Amounts;

use crate::world::{Place, World, quota, request, tokens};

fn of<'a>(tenant: &'a str, place: &'a Place, amounts: Amounts) -> Request<'a> {
    Request { tenant, ..request(place, amounts) }
}

#[test]
fn one_tenants_calls_start_in_the_order_of_their_arrival() {
    for (world, model) in World::both_with(&quota(60, 0, 0)) {
        world.lease(&model, Amounts { requests: 60, ..Amounts::default() });
        for who in 0..20 {
            world.queued(&model, who, tokens(1));
        }
        let mut order = Vec::new();
        for _ in 0..20 {
            world.advance(1.0);
            order.extend(world.started());
        }
        assert_eq!(order, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn small_calls_do_not_pass_a_large_one_at_the_head() {
    for (world, model) in World::both_with(&quota(0, 6_000, 0)) {
        world.lease(&model, tokens(6_000));
        world.queued(&model, 0, tokens(5_000));
        for who in 1..50 {
            world.queued(&model, who, tokens(10));
        }
        world.advance(49.0);
        assert!(world.started().is_empty());
        assert!(world.limiter.try_acquire(&request(&model, tokens(1))).is_err());
        world.advance(1.0);
        assert_eq!(world.started(), [0]);
    }
}

#[test]
fn a_step_of_priority_is_a_head_start_and_no_more() {
    for (world, model) in World::both_with(&quota(1, 0, 0)) {
        world.lease(&model, tokens(1));
        let urgent = || Request { priority: 1, ..request(&model, tokens(1)) };
        world.queued(&model, 0, tokens(1));
        world.advance(1.0);
        world.queue(&urgent(), 1);
        world.clock.advance(PRIORITY_HEAD_START);
        world.queue(&urgent(), 2);
        let mut order = Vec::new();
        for _ in 0..3 {
            world.advance(60.0);
            order.extend(world.started());
        }
        assert_eq!(order, [1, 0, 2]);
    }
}

#[test]
fn a_flood_of_one_tenant_does_not_hold_the_others_up() {
    for (world, model) in World::both_with(&quota(0, 60_000, 0)) {
        world.lease(&model, tokens(60_000));
        for who in 0..1_000 {
            world.queue(&of("flood", &model, tokens(1_000)), who);
        }
        world.queue(&of("light", &model, tokens(1_000)), 5_000);
        let mut served = Vec::new();
        for _ in 0..3 {
            world.advance(1.0);
            served.extend(world.started());
        }
        assert!(served.contains(&5_000), "served first: {served:?}");
    }
}

#[test]
fn a_tenant_that_comes_while_another_floods_is_level_with_whom_was_served_and_not_with_whom_was_asked_about()
{
    for (world, model) in World::both_with(&quota(0, 60_000, 0)) {
        world.lease(&model, tokens(60_000));
        for who in 0..1_000 {
            world.queue(&of("flood", &model, tokens(1_000)), who);
        }
        assert!(world.started().is_empty());
        world.queue(&of("light", &model, tokens(1_000)), 5_000);
        let mut served = Vec::new();
        for _ in 0..3 {
            world.advance(1.0);
            served.extend(world.started());
        }
        assert!(served.contains(&5_000), "served first: {served:?}");
    }
}

#[test]
fn tenants_share_by_their_weights() {
    for (world, model) in World::both_with(&quota(0, 60_000, 0)) {
        world.limiter.set_weight("gold", 3.0);
        world.lease(&model, tokens(60_000));
        for who in 0..400 {
            world.queue(&of(["gold", "iron"][who as usize % 2], &model, tokens(1_000)), who);
        }
        let mut shares: HashMap<u32, u32> = HashMap::new();
        for _ in 0..100 {
            world.advance(1.0);
            for who in world.started() {
                *shares.entry(who % 2).or_default() += 1;
            }
        }
        assert_eq!((shares[&0], shares[&1]), (75, 25));
    }
}

#[test]
fn a_tenant_that_comes_back_gets_no_credit_for_having_idled() {
    for (world, model) in World::both_with(&quota(0, 60_000, 0)) {
        // One tenant works alone for an hour; then both want more than there is.
        for _ in 0..3_600 {
            world.advance(1.0);
            world.limiter.try_acquire(&of("busy", &model, tokens(1_000))).unwrap();
        }
        world.lease(&model, tokens(59_000));
        for who in 0..100 {
            world.queue(&of(["busy", "back"][who as usize % 2], &model, tokens(1_000)), who);
        }
        let mut busy = 0;
        for _ in 0..20 {
            world.advance(1.0);
            busy += world.started().iter().filter(|who| **who % 2 == 0).count();
        }
        assert!((9..=11).contains(&busy), "the busy tenant started {busy} of 20");
    }
}

#[test]
fn a_tenant_at_its_own_cap_is_passed_over() {
    for world in World::both() {
        let model = world.place("model", &quota(600, 0, 0), None);
        let cap = world.limiter.configure("model/tenant:small", &quota(1, 0, 0)).unwrap();
        let capped = Place { path: model.path.with(cap).unwrap(), ..model };
        world.limiter.try_acquire(&of("small", &capped, tokens(1))).unwrap();
        world.queue(&of("small", &capped, tokens(1)), 0);
        world.lease(&model, Amounts { requests: 599, ..Amounts::default() });
        world.queue(&of("other", &model, tokens(1)), 1);
        world.advance(0.1);
        assert_eq!(world.started(), [1]);
        world.advance(60.0);
        assert_eq!(world.started(), [0]);
    }
}

#[test]
fn a_blocked_model_does_not_hold_up_another_model_of_the_account() {
    for world in World::both() {
        let account = world.place("account", &quota(1_000, 0, 0), None);
        let (full, free) = (
            world.place("full", &quota(1, 0, 0), Some(&account)),
            world.place("free", &quota(100, 0, 0), Some(&account)),
        );
        world.lease(&full, tokens(1));
        world.queued(&full, 0, tokens(1));
        assert!(world.started().is_empty());
        world.lease(&free, tokens(1));
    }
}

#[test]
fn whoever_waits_for_the_account_holds_up_all_its_models() {
    for world in World::both() {
        let account = world.place("account", &quota(0, 1_000, 0), None);
        let (one, two) = (
            world.place("one", &quota(100, 0, 0), Some(&account)),
            world.place("two", &quota(100, 0, 0), Some(&account)),
        );
        world.lease(&one, tokens(500));
        world.queued(&one, 0, tokens(900));
        assert!(world.started().is_empty());
        assert!(world.limiter.try_acquire(&request(&two, tokens(1))).is_err());
    }
}

#[test]
fn a_tenant_that_waits_for_two_models_has_one_share_of_their_account() {
    for world in World::both() {
        let account = world.place("account", &quota(0, 60_000, 0), None);
        let (one, two) = (
            world.place("one", &quota(1_000, 0, 0), Some(&account)),
            world.place("two", &quota(1_000, 0, 0), Some(&account)),
        );
        world.lease(&one, tokens(60_000));
        for who in 0..20 {
            world.queue(&of("wide", &one, tokens(1_000)), who);
            world.queue(&of("wide", &two, tokens(1_000)), 100 + who);
            world.queue(&of("deep", &two, tokens(1_000)), 200 + who);
        }
        world.advance(20.0);
        let started = world.started();
        assert_eq!(started.len(), 20);
        let deep = started.iter().filter(|who| **who >= 200).count();
        assert!((9..=11).contains(&deep), "the tenant of one model started {deep} of 20");
        assert!(started.windows(3).all(|three| three.iter().any(|who| *who >= 200)), "in turns: {started:?}");
    }
}

#[test]
fn tenants_that_were_served_the_same_start_in_the_order_of_their_arrival() {
    for (world, model) in World::both_with(&quota(60, 0, 0)) {
        world.limiter.set_weight("b", 1.0);
        world.lease(&model, Amounts { requests: 60, ..Amounts::default() });
        for (who, tenant) in (0..).zip(["c", "b", "a"]) {
            world.queue(&of(tenant, &model, tokens(1)), who);
        }
        world.advance(3.0);
        assert_eq!(world.started(), [0, 1, 2]);
    }
}

#[test]
fn what_nobody_paid_for_out_of_a_share_is_not_given_back_to_it() {
    let (world, model) = World::with(&quota(0, 60_000, 0));
    let Admission::Granted(alone) = world.acquire(&model, 0, tokens(60_000)).unwrap() else {
        panic!("there was room")
    };
    for who in 0..100 {
        world.queue(&of(["", "named"][who as usize % 2], &model, tokens(1_000)), who);
    }
    world.advance(60.0);
    assert_eq!(world.started().len(), 60);
    world.limiter.settle(&alone, &tokens(0)).unwrap();
    world.advance(20.0);
    let nameless = world.started().iter().filter(|who| **who % 2 == 0).count();
    assert!((9..=11).contains(&nameless), "the nameless started {nameless} of 20");
}

#[test]
fn a_call_asked_for_under_a_cap_that_was_forgotten_since_still_has_a_deadline() {
    let world = World::new();
    let model = world.place("model", &quota(0, 0, 1), None);
    let capped = || {
        let cap = world.limiter.cap("model/tenant:x", &quota(1, 0, 0)).unwrap();
        Place { path: model.path.with(cap).unwrap(), ..model }
    };
    let old = capped();
    for other in 0..1_024 {
        world.limiter.cap(&other.to_string(), &quota(1, 0, 0)).unwrap();
    }
    let new = capped();
    assert_ne!(old.path, new.path);
    let first = world.limiter.try_acquire(&of("x", &new, tokens(1))).unwrap();
    world.limiter.settle(&first, &tokens(1)).unwrap();
    world.queue(&of("x", &new, tokens(1)), 0);
    let held = world.lease(&model, tokens(1));
    let deadline = Some(world.now() + Duration::from_secs(1));
    world.queue(&Request { deadline, ..of("x", &old, tokens(1)) }, 1);
    world.limiter.settle(&held, &tokens(1)).unwrap();
    assert!(world.started().is_empty());
    world.advance(1.0);
    let done = world.limiter.poll().done;
    assert!(matches!(&done[..], [(1, Err(Error::QuotaExceeded(_)))]), "{done:?}");
}

#[test]
fn a_cancelled_head_lets_the_next_go() {
    for (world, model) in World::both_with(&quota(0, 1_000, 0)) {
        world.lease(&model, tokens(900));
        let head = world.queued(&model, 0, tokens(1_000));
        world.queued(&model, 1, tokens(100));
        assert_eq!(world.limiter.cancel(head), Some(0));
        assert_eq!(world.limiter.cancel(head), None);
        assert_eq!(world.started(), [1]);
    }
}

#[test]
fn idle_tenants_are_forgotten_and_their_names_can_come_back() {
    let (world, model) = World::with(&quota(0, 0, 1));
    for round in 0..3 {
        for tenant in 0..5_000 {
            let lease = world.limiter.try_acquire(&of(&format!("{tenant}"), &model, tokens(1))).unwrap();
            world.limiter.settle(&lease, &tokens(round)).unwrap();
        }
    }
    world.lease(&model, tokens(1));
    world.queue(&of("7", &model, tokens(1)), 7);
    assert_eq!(world.status(&model).waiting, [("7".into(), 1)].into());
}

#[test]
fn a_day_of_a_thousand_agents_is_served_whole_and_in_no_time() {
    let (world, model) = World::with(&quota(600, 0, 0));
    for who in 0..1_000 {
        let tenant = format!("{}", who % 10);
        let request = of(&tenant, &model, tokens(1));
        world.limiter.acquire(&request, || who).unwrap();
    }
    let mut served = 0;
    while let Some(wake_at) = world.limiter.wake_at() {
        world.clock.advance_to(wake_at);
        served += world.started().len();
    }
    assert_eq!(served, 400);
    assert_eq!(world.now().since(ratekeeper::clock::Time::ZERO), Duration::from_secs(40));
}
