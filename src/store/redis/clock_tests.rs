//! The server's clock, which never goes back, and whom it wakes.

use std::time::Duration;

use redis::Connection;

use super::model::micros;
use super::server::{CLOCK, PRESENCE, Scopes, Server};
use super::state::State;
use super::step::{Change, Op, Outcome, argument, reply, script};
use crate::clock::{Time, unix_micros};
use crate::quota::{Amounts, Dimension, Limit, Quota};

const NOW: Time = micros(1_700_000_000_000_000);

fn calls(requests: u64) -> Amounts {
    Amounts { requests, ..Amounts::default() }
}

fn take(requests: u64) -> Op {
    Op::Take { scopes: vec![0], amounts: calls(requests) }
}

fn end(reserved: u64, kept: u64) -> Op {
    Op::End { scopes: vec![0], own: Some(0), sent_at: NOW, reserved: calls(reserved), kept: calls(kept) }
}

fn add(scopes: &mut Scopes<'_>, requests: u64, concurrency: Option<u32>) {
    let limit = Limit::new(Dimension::Requests, requests, Duration::from_mins(1), None).unwrap();
    let quota = Quota::new(vec![limit], concurrency).unwrap();
    let value = State::new("model".into(), &quota, false).encode();
    let changes = vec![Change { scope: 0, expected: 0, value }];
    assert_eq!(scopes.one(NOW, Op::Swap { changes }), Outcome::Swapped);
}

#[test]
fn the_clock_is_the_servers_own_in_microseconds_since_1970() {
    let server = Server::start();
    let mut connection = server.connect();
    let before = unix_micros();
    let mut call = script().key(CLOCK);
    call.arg(argument("a", PRESENCE, &[]));
    let now = reply(call.invoke(&mut connection).unwrap()).unwrap().now.nanos() / 1_000;
    assert!((before..=unix_micros()).contains(&i64::try_from(now).unwrap()));
}

#[test]
fn a_clock_that_is_set_back_stands_still_for_a_moment_and_goes_on_from_there_after_a_jump() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &[]);
    let mut at =
        |millis: u64| a.step(micros(1_700_000_000_000_000 + millis * 1_000), &[]).now.since(NOW).as_millis();
    assert_eq!(at(5_000), 5_000);
    assert_eq!(at(4_400), 5_000);
    assert_eq!(at(4_900), 5_000);
    assert_eq!(at(5_100), 5_100);
    // Set back by three seconds, and once more.
    assert_eq!(at(2_100), 5_100);
    assert_eq!(at(2_600), 5_600);
    assert_eq!(at(600), 5_600);
    assert_eq!(at(700), 5_700);
    assert_eq!(at(3_000), 8_000);
}

/// What is told to those who wait, up to a mark of the test's own.
fn woken(listener: &mut Connection, sender: &mut Connection) -> Vec<String> {
    let channel = format!("{CLOCK}:wake");
    redis::cmd("PUBLISH").arg(&channel).arg("end").exec(sender).unwrap();
    let mut woken = Vec::new();
    loop {
        let push: (String, String, String) =
            redis::from_redis_value(listener.recv_response().unwrap()).unwrap();
        if push.2 == "end" {
            return woken;
        }
        woken.push(push.2);
    }
}

#[test]
fn the_first_in_line_is_woken_by_what_comes_back_and_by_what_is_left_over() {
    let server = Server::start();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|process| Scopes::of(&server, process, &["model"]));
    let (mut listener, mut sender) = (server.connect(), server.connect());
    redis::cmd("SUBSCRIBE").arg(format!("{CLOCK}:wake")).exec(&mut listener).unwrap();
    let mut woken = || woken(&mut listener, &mut sender);
    add(&mut a, 1_000, Some(2));
    assert_eq!(a.step(NOW, &[take(1), take(1), take(1)]).outcomes[1], Outcome::Granted);
    assert_eq!(b.one(NOW, take(1)), Outcome::Refused { scope: 0 });
    assert_eq!(c.one(NOW, take(1)), Outcome::Refused { scope: 0 });
    assert!(woken().is_empty());
    // The first in line has said so itself, and needs nobody to wake it.
    a.step(NOW, &[end(1, 1)]);
    assert!(woken().is_empty());
    assert_eq!(a.one(NOW, take(1)), Outcome::Granted);
    assert!(woken().is_empty(), "all is taken again");
    // Once for a batch.
    a.step(NOW, &[end(1, 1), end(1, 1)]);
    assert_eq!(woken(), ["b"]);
    assert_eq!(b.one(NOW, take(1)), Outcome::Granted);
    assert_eq!(woken(), ["c"], "there is room for the next");
    b.one(NOW, Op::Bye { scopes: vec![0] });
    assert_eq!(woken(), ["c"]);
    // What comes back may not be enough, but it comes sooner.
    assert_eq!(a.one(NOW, take(900)), Outcome::Refused { scope: 0 });
    c.one(NOW, Op::Leave { scopes: vec![0] });
    assert_eq!((woken(), a.one(NOW, take(900))), (vec!["a".to_owned()], Outcome::Granted));
    assert_eq!(c.one(NOW, take(200)), Outcome::Refused { scope: 0 });
    a.one(NOW, end(900, 890));
    assert_eq!(woken(), ["c"]);
    // Whoever leaves the line makes way; whoever is not in it does not.
    c.one(NOW, Op::Leave { scopes: vec![0] });
    a.one(NOW, Op::Leave { scopes: vec![0] });
    assert!(woken().is_empty());
}
