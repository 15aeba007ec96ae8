//! What the script does, on a real server.

use std::time::Duration;

use super::server::{Scopes, Server};
use super::state::State;
use super::step::{Change, Op, Outcome};
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
    let refused = |scope| Outcome::Refused { scope };
    assert_eq!(reply.outcomes, [Outcome::Granted, refused(1), Outcome::Granted, refused(0)]);
    assert_eq!(reply.now, NOW);
    assert_eq!(reply.states.iter().map(|(scope, _)| *scope).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(a.state(0).scope.status(NOW).in_flight, 2);
    assert_eq!(a.one(NOW, end(&[0, 1], 3, 1)), Outcome::Done);
    assert_eq!(a.state(0).scope.status(NOW).in_flight, 1);
    assert_eq!(a.state(0).scope.status(NOW).limits[0].remaining, 2);
    assert_eq!(a.state(1).scope.status(NOW).limits[0].remaining, 3);
}
