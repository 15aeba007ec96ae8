//! That nothing is lost, or given away, between a state and its value.

use std::time::Duration;

use super::model::micros;
use super::server::{CLOCK, PRESENCE, Scopes, Server};
use super::state::{State, Step};
use super::step::{Change, Op, Outcome};
use super::wire::{Writer, decode};
use crate::bucket::Bucket;
use crate::clock::Time;
use crate::pace::Refusal;
use crate::quota::{Amounts, Dimension, Limit, MAX_AMOUNT, Quota};
use crate::store::scope::Sent;
use crate::store::through_bytes::Dice;

const NOW: Time = micros(1_700_000_000_000_000);

fn tokens(tokens: u64) -> Amounts {
    Amounts { tokens, ..Amounts::default() }
}

fn limit(amount: u64, period: Duration) -> Limit {
    Limit::new(Dimension::Tokens, amount, period, None).unwrap()
}

fn state_of(limit: Limit) -> State {
    State::new("scope".into(), &Quota::new(vec![limit], Some(5)).unwrap(), false)
}

fn end(sent_at: Time, reserved: u64, kept: u64) -> Op {
    Op::End { scopes: vec![0], own: None, sent_at, reserved: tokens(reserved), kept: tokens(kept) }
}

fn put(scopes: &mut Scopes<'_>, scope: usize, state: &State) {
    let changes = vec![Change { scope, expected: 0, value: state.encode() }];
    assert_eq!(scopes.one(NOW, Op::Swap { changes }), Outcome::Swapped);
}

/// A state with something of everything.
fn busy() -> State {
    let mut state = state_of(limit(70, Duration::from_mins(1)));
    let sent = Sent { at: NOW, amounts: tokens(30) };
    for (seconds, process) in (0..).zip(["a", "b", "a"]) {
        let step = Step { process, presence: PRESENCE, now: NOW + Duration::from_secs(seconds) };
        state.grant(step, &tokens(30));
        state.stand(step, &tokens(5));
    }
    state.settle(Step { process: "a", presence: PRESENCE, now: NOW }, &sent, &tokens(20));
    let refusal = Refusal {
        dimension: None,
        period: None,
        retry_after: Some(Duration::from_nanos(1_234_567_891)),
        patience: Duration::from_mins(1),
        random: 0.4,
    };
    state.scope.pause.refused(&refusal, NOW, NOW);
    state.revision = 77;
    state
}

#[test]
fn a_state_is_what_it_was_after_it_was_written_and_read() {
    let state = busy();
    let again = decode("scope".into(), &state.encode()).unwrap();
    assert_eq!((again.revision, &again.quota, &again.members), (77, &state.quota, &state.members));
    assert_eq!(again.scope.status(NOW), state.scope.status(NOW));
    assert_eq!(again.encode(), state.encode());
}

#[test]
fn what_is_damaged_or_of_another_version_is_no_state() {
    let value = busy().encode();
    assert!((0..value.len()).all(|len| decode("a".into(), &value[..len]).is_none()));
    assert!(decode("a".into(), &[&*value, &[0]].concat()).is_none());
    let mut other = value;
    assert_eq!(other[1], 1);
    other[1] = 2;
    assert!(decode("a".into(), &other).is_none());
    let mut nothing = Writer::default();
    nothing.array(0);
    assert!(decode("a".into(), &nothing.0).is_none());
}

#[test]
fn a_value_of_another_version_is_left_alone_with_all_that_was_to_be_done() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["one", "other"]);
    put(&mut a, 0, &busy());
    let mut value = busy().encode();
    value[1] = 2;
    redis::cmd("SET").arg(&a.keys[1]).arg(&value).exec(&mut a.connection).unwrap();
    let before = a.state(0).revision;
    let call = a.call(NOW, &[Op::Bye { scopes: vec![0] }, Op::Read { scope: 1 }]);
    let error = call.exec(&mut a.connection).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    let after: Vec<u8> = redis::cmd("GET").arg(&a.keys[1]).query(&mut a.connection).unwrap();
    assert_eq!((a.state(0).revision, after), (before, value));
}

#[test]
fn quantities_in_whole_microseconds_are_exact_and_others_grant_less_by_less_than_one() {
    let mut dice = Dice::new(3);
    for _ in 0..20_000 {
        let amount = 1 + dice.below(MAX_AMOUNT);
        let is_whole = dice.below(2) == 0;
        let unit = if is_whole { 1_000 } else { 1 };
        let period = Duration::from_nanos(1_000_000 + unit * dice.below(1_000_000_000_000_000 / unit));
        let mut state = state_of(limit(amount, period));
        let at = |dice: &mut Dice| NOW + Duration::from_nanos(unit * dice.below(1_000_000_000));
        let bucket = state.scope.meters[0].bucket_mut();
        for _ in 0..3 {
            bucket.charge(dice.below(amount), at(&mut dice));
        }
        let before = bucket.levels();
        let after = decode("scope".into(), &state.encode()).unwrap().scope.meters[0].bucket().levels();
        if is_whole {
            assert_eq!(after, before);
        }
        assert!(after.tat >= before.tat && after.tat < before.tat + 1_000);
        for (after, before) in after.lows.iter().zip(&before.lows) {
            assert!(after.1 <= before.1 && after.1 + 1_000 > before.1);
        }
    }
}

#[test]
fn the_pairs_count_as_the_buckets_do_up_to_the_largest_amounts_and_the_oddest_periods() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["scope"]);
    let mut dice = Dice::new(11);
    for amount in [MAX_AMOUNT, 999_999_999_989, 3, 1, 70_000_000_001] {
        for period in [1_000, 1_001, 59_999_999, 2_678_399_999_999] {
            redis::cmd("FLUSHALL").exec(&mut a.connection).unwrap();
            let limit = limit(amount, Duration::from_micros(period));
            put(&mut a, 0, &state_of(limit));
            let (mut bucket, mut now) = (Bucket::new(limit), NOW);
            for _ in 0..40 {
                now = now + Duration::from_micros(dice.below(period / 4));
                let (asked, used) = (1 + dice.below(amount), dice.below(amount));
                let has_room = bucket.has_room(asked, now);
                let outcome = a.one(now, Op::Take { scopes: vec![0], amounts: tokens(asked) });
                assert_eq!(outcome == Outcome::Granted, has_room, "{outcome:?}");
                if has_room {
                    bucket.charge(asked, now);
                    let sent_at = now;
                    now = now + Duration::from_micros(dice.below(period / 8));
                    a.one(now, end(sent_at, asked, used));
                    bucket.charge(used.saturating_sub(asked), now);
                    if used < asked {
                        bucket.refund(asked - used, sent_at);
                    }
                }
                assert_eq!(a.state(0).scope.meters[0].bucket().levels(), bucket.levels(), "{limit:?}");
            }
        }
    }
}

#[test]
fn a_period_that_is_no_whole_number_of_microseconds_never_grants_more() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["scope"]);
    let mut dice = Dice::new(5);
    let mut granted = 0;
    for (amount, nanos) in [(7, 1_000_001), (1_000, 1_999_999), (3, 333_333_333), (40, 1_500_000_499)] {
        redis::cmd("FLUSHALL").exec(&mut a.connection).unwrap();
        let (period, burst) = (Duration::from_nanos(nanos), 1_000 * amount);
        let limit = Limit::new(Dimension::Tokens, amount, period, Some(burst)).unwrap();
        let (mut state, mut bucket, mut now) = (state_of(limit), Bucket::new(limit), NOW);
        // What Rust has charged is exact; what the script gives back of it is not more.
        for used in [burst, burst / 2] {
            state.grant(Step { process: "a", presence: PRESENCE, now }, &tokens(used));
            bucket.charge(used, now);
        }
        put(&mut a, 0, &state);
        a.one(now, end(now, burst / 2, 0));
        bucket.refund(burst / 2, now);
        for _ in 0..300 {
            now = now + Duration::from_micros(dice.below(nanos / 2_000));
            let (reserved, kept) = (1 + dice.below(amount), 1 + dice.below(amount));
            if a.one(now, Op::Take { scopes: vec![0], amounts: tokens(reserved) }) == Outcome::Granted {
                assert!(bucket.has_room(reserved, now));
                bucket.charge(reserved, now);
                granted += 1;
                a.one(now, end(now, reserved, kept.min(reserved)));
                bucket.refund(reserved.saturating_sub(kept), now);
            }
            let there = a.state(0).scope.meters[0].bucket().levels();
            assert!(there.tat >= bucket.levels().tat);
        }
    }
    assert!(granted > 100, "{granted}");
}

#[test]
fn a_cap_is_kept_while_it_matters_and_what_was_learned_for_a_week() {
    let server = Server::start();
    let mut a = Scopes::of(&server, "a", &["cap", "scope", "month"]);
    let minute = limit(60, Duration::from_mins(1));
    put(&mut a, 0, &State::new("cap".into(), &Quota::new(vec![minute], None).unwrap(), true));
    put(&mut a, 1, &state_of(minute));
    put(&mut a, 2, &state_of(limit(31, Duration::from_hours(24 * 31))));
    let scopes = vec![0, 1, 2];
    let mut seconds_left = |requests| {
        let amounts = tokens(requests);
        assert_eq!(a.one(NOW, Op::Take { scopes: scopes.clone(), amounts }), Outcome::Granted);
        let keys = [&*a.keys[0], &a.keys[1], &a.keys[2], CLOCK];
        keys.map(|key| redis::cmd("PTTL").arg(key).query::<u64>(&mut a.connection).unwrap().div_ceil(1_000))
    };
    let (day, presence) = (86_400, 10);
    let is_near = |left: [u64; 4], expected: [u64; 4]| {
        left.iter().zip(expected).all(|(left, expected)| (expected - 5..=expected + 1).contains(left))
    };
    let left = seconds_left(10);
    assert!(is_near(left, [30 + presence, 7 * day, 10 * day, 7 * day]), "{left:?}");
    let left = seconds_left(21);
    assert!(is_near(left, [31 + presence, 7 * day, 31 * day, 7 * day]), "{left:?}");
}
