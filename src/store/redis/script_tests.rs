//! What the script does, on a real server.

use std::time::Duration;

use super::server::{Scopes, Server};
use super::state::State;
use super::step::{Change, Op, Outcome};
use super::wire::decode;
use crate::clock::Time;
use crate::quota::{Amounts, Dimension, Limit, Quota};

const NOW: Time = Time::from_nanos(1_700_000_000_000_000_000);

fn calls(requests: u64) -> Amounts {
    Amounts { requests, ..Amounts::default() }
}

fn take(scopes: &[usize], requests: u64) -> Op {
    Op::Take { scopes: scopes.to_vec(), amounts: calls(requests) }
}

fn end(scopes: &[usize], reserved: u64, kept: u64) -> Op {
    let own = scopes.last().copied();
    Op::End { scopes: scopes.to_vec(), own, sent_at: NOW, reserved: calls(reserved), kept: calls(kept) }
}

/// So many requests a minute, and calls at once.
fn quota(requests: u64, concurrency: Option<u32>) -> Quota {
    let limit = Limit::new(Dimension::Requests, requests, Duration::from_mins(1), None).unwrap();
    Quota::new(vec![limit], concurrency).unwrap()
}

fn add(scopes: &mut Scopes<'_>, scope: usize, quota: &Quota, is_cap: bool) {
    let value = State::new("new".into(), quota, is_cap).encode();
    let changes = vec![Change { scope, expected: 0, value }];
    assert_eq!(scopes.one(NOW, Op::Swap { changes }), Outcome::Swapped);
}

#[test]
fn calls_are_granted_from_all_scopes_or_from_none_and_what_they_did_not_use_comes_back() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["account", "model"]);
    assert_eq!(a.one(NOW, take(&[0, 1], 1)), Outcome::Missing { scope: 0 });
    add(&mut a, 0, &quota(10, None), false);
    assert_eq!(a.one(NOW, take(&[0, 1], 1)), Outcome::Missing { scope: 1 });
    add(&mut a, 1, &quota(4, Some(2)), false);
    let reply = a.step(NOW, &[take(&[0, 1], 3), take(&[0, 1], 2), take(&[0], 7), take(&[0], 1)]);

    assert_eq!(reply.outcomes, [Outcome::Granted, refused(1), Outcome::Granted, refused(0)]);
    assert_eq!(reply.now, NOW);
    assert_eq!(reply.states.iter().map(|(scope, _)| *scope).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(a.state(0).scope.status(NOW).in_flight, 2);
    assert_eq!(a.one(NOW, end(&[0, 1], 3, 1)), Outcome::Done);
    assert_eq!(a.state(0).scope.status(NOW).in_flight, 1);
    assert_eq!(a.state(0).scope.status(NOW).limits[0].remaining, 2);
    assert_eq!(a.state(1).scope.status(NOW).limits[0].remaining, 3);
}

fn refused(scope: usize) -> Outcome {
    Outcome::Refused { scope }
}

fn after(millis: u64) -> Time {
    NOW + Duration::from_millis(millis)
}

#[test]
fn a_call_that_was_refused_is_not_passed_by_smaller_ones_in_its_scope_but_in_others_it_is() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["account", "model", "other"]);
    add(&mut a, 0, &quota(100, None), false);
    add(&mut a, 1, &quota(10, None), false);
    add(&mut a, 2, &quota(10, None), false);
    let reply = a.step(NOW, &[take(&[0, 1], 8), take(&[0, 1], 5), take(&[0, 1], 1), take(&[0, 2], 1)]);
    assert_eq!(reply.outcomes, [Outcome::Granted, refused(1), refused(1), Outcome::Granted]);
    // It stands where room comes last, with what it asks for.
    let place = a.state(1).members[0].place.unwrap();
    assert_eq!((place.since, place.amounts), (NOW, calls(5)));
    assert_eq!(a.state(0).members[0].place, None);
}

#[test]
fn processes_get_their_turn_in_the_order_in_which_they_came_for_as_long_as_they_ask() {
    let server = Server::start();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|process| Scopes::of(&server, process, &["model"]));
    add(&mut a, 0, &quota(60, None), false);
    assert_eq!(a.one(NOW, take(&[0], 60)), Outcome::Granted);
    assert_eq!(b.one(after(1), take(&[0], 3)), refused(0));
    assert_eq!(c.one(after(2), take(&[0], 1)), refused(0));
    // There is room for one, but another process was first.
    assert_eq!(c.one(after(700), take(&[0], 1)), refused(0));
    assert_eq!(b.one(after(701), take(&[0], 3)), refused(0));
    assert_eq!(c.one(after(1_400), take(&[0], 1)), refused(0));
    assert_eq!(a.one(after(1_400), take(&[0], 1)), refused(0));
    // Whoever falls silent has no place any more.
    assert_eq!(c.one(after(1_452), take(&[0], 1)), Outcome::Granted);
    assert_eq!(b.one(after(1_453), take(&[0], 3)), refused(0));
}

#[test]
fn where_room_comes_in_two_scopes_at_once_the_process_stands_in_the_outer_one() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["account", "model"]);
    add(&mut a, 0, &quota(60, None), false);
    add(&mut a, 1, &quota(60, None), false);
    assert_eq!(a.step(NOW, &[take(&[0, 1], 60), take(&[0, 1], 5)]).outcomes, [Outcome::Granted, refused(0)]);
    assert!(a.state(0).members[0].place.is_some() && a.state(1).members[0].place.is_none());
}

#[test]
fn where_no_permit_is_free_the_process_stands_there_and_whoever_leaves_gives_up_its_place() {
    let server = Server::start();
    let [mut a, mut b, mut c] =
        ["a", "b", "c"].map(|process| Scopes::of(&server, process, &["account", "model"]));
    add(&mut a, 0, &quota(60, None), false);
    add(&mut a, 1, &quota(1_000, Some(1)), false);
    assert_eq!(a.one(NOW, take(&[0, 1], 60)), Outcome::Granted);
    assert_eq!(b.one(NOW, take(&[0, 1], 1)), refused(1));
    assert_eq!(a.one(after(1), end(&[0, 1], 60, 1)), Outcome::Done);
    assert_eq!(c.one(after(1), take(&[0, 1], 1)), refused(1));
    assert_eq!(b.one(after(2), Op::Leave { scopes: vec![0, 1] }), Outcome::Done);
    assert_eq!(c.one(after(2), take(&[0, 1], 1)), Outcome::Granted);
}

#[test]
fn what_a_process_held_that_is_overdue_or_says_farewell_comes_back_and_is_not_given_back_twice() {
    let server = Server::start();
    let [mut a, mut b] = ["a", "b"].map(|process| Scopes::of(&server, process, &["model"]));
    add(&mut a, 0, &quota(1_000, Some(2)), false);
    assert_eq!(a.step(NOW, &[take(&[0], 1), take(&[0], 1)]).outcomes, [Outcome::Granted; 2]);
    assert_eq!(b.one(after(9_999), take(&[0], 1)), refused(0));
    assert_eq!(b.one(after(10_000), take(&[0], 1)), Outcome::Granted);
    let state = b.state(0);
    assert_eq!((state.scope.permits.held(), state.scope.flow.in_flight()), (1, calls(1)));
    assert_eq!(state.members.iter().map(|member| &*member.process).collect::<Vec<_>>(), ["b"]);
    assert_eq!(a.one(after(10_001), end(&[0], 1, 1)), Outcome::Done);
    assert_eq!(b.state(0).scope.permits.held(), 1);
    // It is there after all, with the other call: what it holds counts, even above the limit.
    let held = vec![(0, 2, calls(2))];
    assert_eq!(a.one(after(10_002), Op::Pulse { held }), Outcome::Done);
    assert_eq!(b.state(0).scope.permits.held(), 3);
    assert_eq!(a.one(after(10_003), Op::Bye { scopes: vec![0] }), Outcome::Done);
    let state = b.state(0);
    assert_eq!((state.scope.permits.held(), state.scope.flow.in_flight()), (1, calls(1)));
    assert_eq!(state.members.len(), 1);
}

#[test]
fn a_pulse_tells_what_it_found_and_what_is_not_there() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["lost", "model"]);
    add(&mut a, 1, &quota(1_000, None), false);
    let reply =
        a.step(NOW, &[Op::Pulse { held: vec![(0, 1, calls(1)), (1, 1, calls(1))] }, Op::Read { scope: 0 }]);
    assert_eq!(reply.outcomes, [Outcome::Missing { scope: 0 }; 2]);
    let [(1, value)] = &*reply.states else { panic!("the state of the scope that is there") };
    let state = decode("model".into(), value).unwrap();
    assert_eq!((state.scope.permits.held(), state.members[0].permits), (1, 1));
}

#[test]
fn values_are_swapped_in_for_all_scopes_or_for_none_and_only_where_nobody_was_faster() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["account", "model"]);
    let change = |scope, expected| Change {
        scope,
        expected,
        value: State::new("x".into(), &quota(7, None), false).encode(),
    };
    add(&mut a, 0, &quota(1_000, None), false);
    let before = a.state(0).revision;
    assert_eq!(a.one(NOW, take(&[0], 1)), Outcome::Granted);
    let reply = a.step(NOW, &[Op::Swap { changes: vec![change(0, before), change(1, 0)] }]);
    assert_eq!((reply.outcomes[0], reply.states.len()), (Outcome::Changed, 1));
    let now = decode("account".into(), &reply.states[0].1).unwrap().revision;
    assert_eq!(a.one(NOW, Op::Read { scope: 1 }), Outcome::Missing { scope: 1 });
    assert_eq!(
        a.one(NOW, Op::Swap { changes: vec![change(0, now), change(1, 5)] }),
        Outcome::Missing { scope: 1 }
    );
    assert_eq!(a.one(NOW, Op::Swap { changes: vec![change(0, 0)] }), Outcome::Changed);
    assert_eq!(a.state(0).revision, now);
    assert_eq!(a.one(NOW, Op::Swap { changes: vec![change(0, now), change(1, 0)] }), Outcome::Swapped);
    assert_eq!((a.state(0).revision, a.state(0).scope.status(NOW).limits[0].remaining), (now + 1, 7));
    // What has changed in the same batch was not seen either.
    let reply = a.step(NOW, &[take(&[0], 1), Op::Swap { changes: vec![change(0, now + 1)] }]);
    assert_eq!(reply.outcomes, [Outcome::Granted, Outcome::Changed]);
    // What is new is never taken for what was there before.
    assert_eq!(a.state(1).revision, NOW.nanos() / 1_000);
}

#[test]
fn a_scope_that_is_being_explored_is_left_to_rust_with_all_others_of_the_call() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["account", "unknown"]);
    add(&mut a, 0, &quota(1_000, None), false);
    let mut state = State::new("unknown".into(), &Quota::new(Vec::new(), None).unwrap(), false);
    state.scope.be_careful();
    let changes = vec![Change { scope: 1, expected: 0, value: state.encode() }];
    assert_eq!(a.one(NOW, Op::Swap { changes }), Outcome::Swapped);
    let revision = a.state(0).revision;
    let reply = a.step(NOW, &[take(&[0, 1], 1), end(&[0, 1], 1, 1), take(&[0], 1)]);
    assert_eq!(reply.outcomes, [Outcome::Exotic, Outcome::Exotic, Outcome::Granted]);
    assert_eq!(reply.states.len(), 2);
    assert_eq!((a.state(0).revision, a.state(0).scope.permits.held()), (revision + 1, 1));
    // An end that says nothing of the provider is plain arithmetic there too.
    let Op::End { scopes, sent_at, reserved, kept, .. } = end(&[0, 1], 1, 1) else { unreachable!() };
    assert_eq!(a.one(NOW, Op::End { scopes, own: None, sent_at, reserved, kept }), Outcome::Done);
    assert_eq!(a.state(0).scope.permits.held(), 0);
}
