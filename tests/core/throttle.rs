//! Keyed rates: each key its own, first come first served, idle keys forgotten.

use std::sync::Arc;
use std::time::Duration;

use ratekeeper::clock::{Clock, ManualClock};
use ratekeeper::error::Error;
use ratekeeper::throttle::{Throttle, Turn};

fn throttle(amount: u32, burst: u32) -> (Throttle<u32>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Throttle::new(clock.clone(), amount, Duration::from_secs(1), Some(burst)).unwrap(), clock)
}

fn later(turn: Result<Turn, Error>) -> ratekeeper::throttle::Place {
    match turn.unwrap() {
        Turn::Later(place) => place,
        Turn::Now => panic!("expected to wait"),
    }
}

fn served(throttle: &Throttle<u32>) -> Vec<u32> {
    throttle.poll().0.into_iter().map(|(_, who)| who).collect()
}

#[test]
fn each_key_has_a_rate_of_its_own() {
    let (throttle, clock) = throttle(10, 2);
    assert!(throttle.try_acquire("a") && throttle.try_acquire("a"));
    assert!(!throttle.try_acquire("a"));
    assert!(throttle.try_acquire("b"));
    clock.advance(Duration::from_millis(100));
    assert!(throttle.try_acquire("a"));
    assert!(!throttle.try_acquire("a"));
}

#[test]
fn those_who_wait_start_in_the_order_of_their_arrival_at_the_rate() {
    let (throttle, clock) = throttle(10, 1);
    assert_eq!(throttle.acquire("a", None, || 0).unwrap(), Turn::Now);
    for who in 1..=3 {
        later(throttle.acquire("a", None, || who));
    }
    assert!(!throttle.try_acquire("a"));
    for who in 1..=3 {
        assert_eq!(throttle.wake_at(), Some(clock.now() + Duration::from_millis(100)));
        clock.advance(Duration::from_millis(100));
        assert!(!throttle.try_acquire("a"), "nobody passes who waits");
        assert_eq!(served(&throttle), [who]);
    }
    assert_eq!(throttle.wake_at(), None);
}

#[test]
fn a_turn_after_the_deadline_is_refused_at_once() {
    let (throttle, clock) = throttle(10, 1);
    let deadline = Some(clock.now() + Duration::from_millis(150));
    throttle.acquire("a", None, || 0).unwrap();
    later(throttle.acquire("a", deadline, || 1));
    match throttle.acquire("a", deadline, || 2) {
        Err(Error::QuotaExceeded(shortage)) => {
            assert_eq!(shortage.retry_after, Some(Duration::from_millis(200)));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_place_given_up_is_taken_by_the_next() {
    let (throttle, clock) = throttle(10, 1);
    throttle.acquire("a", None, || 0).unwrap();
    let place = later(throttle.acquire("a", None, || 1));
    later(throttle.acquire("a", None, || 2));
    assert_eq!(throttle.cancel(&place), Some(1));
    assert_eq!(throttle.cancel(&place), None);
    clock.advance(Duration::from_millis(100));
    assert_eq!(served(&throttle), [2]);
}

#[test]
fn a_turn_whose_taker_has_gone_is_handed_on() {
    let (throttle, _) = throttle(10, 1);
    throttle.acquire("a", None, || 0).unwrap();
    later(throttle.acquire("a", None, || 1));
    assert_eq!(throttle.hand_on("a"), Some(1));
    assert_eq!(throttle.hand_on("a"), None);
    assert_eq!(throttle.wake_at(), None);
}

#[test]
fn idle_keys_are_forgotten() {
    let (throttle, clock) = throttle(10, 1);
    for key in 0..10_000 {
        assert!(throttle.try_acquire(&key.to_string()));
        clock.advance(Duration::from_millis(1));
    }
    // A key is idle 100 ms after its turn; governor keeps it for as long again.
    assert!(throttle.len() <= 200, "{} keys are remembered", throttle.len());
    clock.advance(Duration::from_secs(1));
    assert!(throttle.is_empty());
}

#[test]
fn rates_that_cannot_be_are_refused_by_name() {
    let clock: Arc<ManualClock> = Arc::default();
    let text = |amount, period| {
        Throttle::<u32>::new(clock.clone(), amount, period, None).map(drop).unwrap_err().to_string()
    };
    assert!(text(0, Duration::from_secs(1)).starts_with("rate: "));
    assert!(text(1, Duration::ZERO).starts_with("rate: "));
}

#[test]
fn a_burst_that_would_take_ages_to_come_back_is_refused_by_name() {
    let clock: Arc<ManualClock> = Arc::default();
    let made = |burst| Throttle::<u32>::new(clock.clone(), 1, Duration::from_hours(1), Some(burst)).map(drop);
    assert!(made(u32::MAX).unwrap_err().to_string().starts_with("burst: "));
    made(24 * 365).unwrap();
}
