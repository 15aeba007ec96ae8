//! Retries: waits within their bounds, never more attempts or time than allowed, and a budget that is never overdrawn.

use std::time::Duration;

use proptest::prelude::*;
use ratekeeper::clock::Time;
use ratekeeper::retry::{
    Decision, Hint, Jitter, Kind, LONGEST_RETRY_AFTER, LONGEST_SPREAD, Policy, Progress, REFUSED_COST,
    Reason, RetryBudget, SPREAD, TRICKLE, UNSURE_COST,
};

const FIRST: Progress = Progress { attempt: 1, elapsed: Duration::ZERO, last_wait: Duration::ZERO };

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn policy(jitter: Jitter) -> Policy {
    Policy::new(None, None, seconds(1.0), seconds(30.0), jitter).unwrap()
}

fn wait(decision: Decision) -> Duration {
    match decision {
        Decision::RetryAfter(wait) => wait,
        Decision::GiveUp(reason) => panic!("gave up: {}", reason.name()),
    }
}

/// Numbers from 0 to 1 that stand for all: no seed, no luck.
fn evenly() -> impl Iterator<Item = f64> {
    (0..10_000u32).map(|step| f64::from(step) / 10_000.0)
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![Just(Jitter::Full), Just(Jitter::Equal), Just(Jitter::Decorrelated)]
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::ALL[..])
}

/// What a provider may say, sense and nonsense.
fn told() -> impl Strategy<Value = Hint> {
    prop_oneof![
        Just(Hint::None),
        (0.001f64..200.0).prop_map(Hint::from_provider),
        any::<f64>().prop_map(Hint::from_provider),
        (0u64..90_000).prop_map(|millis| Hint::Exactly(Duration::from_millis(millis))),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let bounds = (prop::option::of(1u32..15), prop::option::of(1u64..200_000));
    (bounds, 1u64..5_000, 1u64..60_000, jitters()).prop_map(|((attempts, timeout), initial, more, jitter)| {
        let (initial, longest) = (Duration::from_millis(initial), Duration::from_millis(initial + more));
        Policy::new(attempts, timeout.map(Duration::from_millis), initial, longest, jitter).unwrap()
    })
}

/// One call that fails again and again: how long each attempt takes, what it fails with, and the dice.
fn failures() -> impl Strategy<Value = Vec<(u64, Kind, Hint, f64)>> {
    prop::collection::vec((0u64..5_000, kinds(), told(), 0.0f64..1.0), 40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_attempt_starts_beyond_the_attempts_or_the_time_allowed(policy in policies(), failures in failures()) {
        let mut progress = FIRST;
        for (millis, kind, hint, random) in failures {
            progress.elapsed += Duration::from_millis(millis);
            let Decision::RetryAfter(wait) = policy.decide(kind, hint, &progress, random) else { break };
            prop_assert!(kind.is_retryable());
            progress.elapsed += wait;
            progress.last_wait = wait;
            progress.attempt += 1;
            prop_assert!(policy.attempts().is_none_or(|most| progress.attempt <= most));
            prop_assert!(policy.timeout().is_none_or(|timeout| progress.elapsed <= timeout));
        }
    }

    #[test]
    fn a_wait_is_never_longer_than_wait_max_or_what_was_asked_for(
        policy in policies(), hint in told(), attempt: u32, last in 0u64..100_000, random: f64
    ) {
        let progress = Progress { attempt, last_wait: Duration::from_millis(last), ..FIRST };
        if let Decision::RetryAfter(wait) = policy.decide(Kind::Overload, hint, &progress, random) {
            let asked = match hint {
                Hint::None => Duration::ZERO,
                Hint::AtLeast(asked) => asked + LONGEST_SPREAD.min(asked.mul_f64(SPREAD) + Duration::from_nanos(1)),
                Hint::Exactly(asked) => asked,
            };
            prop_assert!(wait <= asked.max(policy.wait_max()), "{wait:?}");
        }
    }

    #[test]
    fn nobody_comes_back_before_the_provider_allows_it(
        policy in policies(), asked in 1u64..200_000, attempt in 1u32..20, elapsed in 0u64..200_000, random in 0.0f64..1.0
    ) {
        let asked = Duration::from_millis(asked);
        let progress = Progress { attempt, elapsed: Duration::from_millis(elapsed), ..FIRST };
        match policy.decide(Kind::RateLimit, Hint::AtLeast(asked), &progress, random) {
            Decision::RetryAfter(wait) => prop_assert!(wait >= asked),
            Decision::GiveUp(Reason::RetryAfter) => {
                prop_assert!(policy.timeout().is_some_and(|timeout| progress.elapsed + asked > timeout));
            }
            Decision::GiveUp(_) => {}
        }
    }

    #[test]
    fn full_and_equal_jitter_stay_within_the_doubled_backoff(attempt in 1u32..70, random in 0.0f64..1.0) {
        let top = seconds(30.0f64.min(2f64.powi(i32::try_from(attempt).unwrap() - 1)));
        let progress = Progress { attempt, ..FIRST };
        let full = wait(policy(Jitter::Full).decide(Kind::Timeout, Hint::None, &progress, random));
        let equal = wait(policy(Jitter::Equal).decide(Kind::Timeout, Hint::None, &progress, random));
        prop_assert!(full <= top);
        prop_assert!(top / 2 <= equal && equal <= top);
    }

    #[test]
    fn decorrelated_jitter_is_from_the_first_backoff_to_three_times_the_last(
        attempt in 1u32..70, last in 0.0f64..40.0, random in 0.0f64..1.0
    ) {
        let progress = Progress { attempt, last_wait: seconds(last), ..FIRST };
        let wait = wait(policy(Jitter::Decorrelated).decide(Kind::Timeout, Hint::None, &progress, random));
        prop_assert!(seconds(1.0) <= wait && wait <= seconds((3.0 * last.max(1.0)).min(30.0)) + Duration::from_nanos(1));
    }

    #[test]
    fn a_budget_is_never_overdrawn_and_never_holds_more_than_it_may(
        capacity in UNSURE_COST..300, steps in prop::collection::vec((kinds(), any::<bool>(), 0u8..3, 0u64..3_000), 1..200)
    ) {
        let mut budget = RetryBudget::new(capacity).unwrap();
        let (mut now, mut balance, mut lent) = (Time::ZERO, capacity, Vec::<Time>::new());
        for (kind, queued, step, millis) in steps {
            now = now + Duration::from_millis(millis);
            match step {
                0 => budget.succeeded(None, queued),
                1 => budget.succeeded(Some(kind), queued),
                _ => {
                    let cost = RetryBudget::cost(kind, queued);
                    let taken = budget.try_take(kind, queued, now);
                    prop_assert!(taken || balance < cost, "refused what could be paid");
                    if taken && balance < cost {
                        prop_assert!(lent.last().is_none_or(|last| now.since(*last) >= TRICKLE));
                        lent.push(now);
                    } else if !taken {
                        prop_assert_eq!(budget.balance(), balance, "a refusal changes nothing");
                    }
                }
            }
            balance = budget.balance();
            prop_assert!(balance <= capacity);
        }
    }

    #[test]
    fn an_outage_is_multiplied_by_no_more_than_the_budget(callers in 1usize..200, seconds in 1u64..120) {
        let mut budget = RetryBudget::default();
        let mut retries = 0u64;
        for tenth in 0..seconds * 10 {
            let now = Time::ZERO + Duration::from_millis(100 * tenth);
            retries += (0..callers).filter(|_| budget.try_take(Kind::Overload, false, now)).count() as u64;
        }
        prop_assert!(retries <= 100 / 14 + 1 + seconds / 10, "{retries}");
    }
}

#[test]
fn only_what_could_end_otherwise_is_tried_again() {
    let retryable =
        [Kind::RateLimit, Kind::Overload, Kind::ServerError, Kind::Timeout, Kind::Connection, Kind::Chosen];
    for kind in Kind::ALL {
        let decision = Policy::default().decide(kind, Hint::None, &FIRST, 0.5);
        let is_retried = matches!(decision, Decision::RetryAfter(_));
        assert_eq!(is_retried, retryable.contains(&kind), "{}", kind.name());
        assert!(is_retried || decision == Decision::GiveUp(Reason::Kind));
    }
}

#[test]
fn jitter_is_spread_over_its_whole_range() {
    for (jitter, low, mean) in
        [(Jitter::Full, 0.0, 4.0), (Jitter::Equal, 4.0, 6.0), (Jitter::Decorrelated, 1.0, 3.5)]
    {
        let progress = Progress { attempt: 4, last_wait: seconds(2.0), ..FIRST };
        let top = if jitter == Jitter::Decorrelated { 6.0 } else { 8.0 };
        let waits: Vec<f64> = evenly()
            .map(|random| wait(policy(jitter).decide(Kind::Overload, Hint::None, &progress, random)))
            .map(|wait| wait.as_secs_f64())
            .collect();
        let (least, most) = (waits[0], waits[waits.len() - 1]);
        assert!((least - low).abs() < 0.01 && (most - top).abs() < 0.01, "{jitter:?}: {least} to {most}");
        let average = waits.iter().sum::<f64>() / 10_000.0;
        assert!((average - mean).abs() < 0.01, "{jitter:?}: {average}");
    }
}

#[test]
fn who_is_told_the_same_wait_does_not_come_back_at_the_same_moment() {
    for (asked, spread) in [(1.0, 0.2), (10.0, 2.0), (60.0, 5.0)] {
        let waits: Vec<f64> = evenly()
            .map(|random| {
                policy(Jitter::Full).decide(Kind::RateLimit, Hint::from_provider(asked), &FIRST, random)
            })
            .map(|decision| wait(decision).as_secs_f64())
            .collect();
        assert!((waits[0] - asked).abs() < 1e-6);
        assert!((waits[waits.len() - 1] - asked - spread).abs() < 0.01);
    }
}

#[test]
fn a_wait_that_would_be_in_vain_is_not_begun() {
    let policy = Policy::new(None, Some(seconds(60.0)), seconds(1.0), seconds(30.0), Jitter::Full).unwrap();
    let at = |elapsed, hint| {
        let progress = Progress { attempt: 2, elapsed: seconds(elapsed), last_wait: Duration::ZERO };
        policy.decide(Kind::RateLimit, hint, &progress, 0.99)
    };
    assert_eq!(at(20.0, Hint::from_provider(41.0)), Decision::GiveUp(Reason::RetryAfter));
    assert_eq!(
        at(20.0, Hint::from_provider(40.0)),
        Decision::RetryAfter(seconds(40.0)),
        "without its spread"
    );
    assert_eq!(at(59.0, Hint::None), Decision::GiveUp(Reason::Timeout));
    assert_eq!(at(60.0, Hint::Exactly(Duration::ZERO)), Decision::GiveUp(Reason::Timeout));
    assert_eq!(at(55.0, Hint::Exactly(seconds(5.0))), Decision::RetryAfter(seconds(5.0)));
}

#[test]
fn a_provider_that_keeps_asking_for_too_little_does_not_stop_the_backoff() {
    let progress = Progress { attempt: 5, ..FIRST };
    let decision = policy(Jitter::Full).decide(Kind::RateLimit, Hint::from_provider(0.1), &progress, 0.5);
    assert_eq!(decision, Decision::RetryAfter(seconds(8.0)));
}

#[test]
fn what_makes_no_sense_is_not_a_wait() {
    let too_long = LONGEST_RETRY_AFTER.as_secs_f64() + 1.0;
    for nonsense in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 1.7e9, too_long] {
        assert_eq!(Hint::from_provider(nonsense), Hint::None, "{nonsense}");
    }
    assert_eq!(Hint::from_provider(3600.0), Hint::AtLeast(seconds(3600.0)));
}

#[test]
fn dice_that_show_no_number_from_0_to_1_wait_the_longest() {
    for random in [f64::NAN, -1.0, 1.0, 7.0, f64::INFINITY] {
        let decision = policy(Jitter::Full).decide(Kind::Overload, Hint::None, &FIRST, random);
        assert_eq!(decision, Decision::RetryAfter(seconds(1.0)));
    }
}

#[test]
fn a_policy_that_cannot_be_kept_is_refused_by_the_name_of_its_field() {
    let new = |attempts, initial, longest| {
        let made = Policy::new(attempts, None, seconds(initial), seconds(longest), Jitter::Full);
        made.unwrap_err().to_string()
    };
    assert!(new(Some(0), 1.0, 1.0).starts_with("attempts: "));
    assert!(new(None, 0.0, 1.0).starts_with("wait_initial: "));
    assert_eq!(new(None, 2.0, 1.5), "wait_max: expected at least wait_initial, 2 s, got 1.5");
    assert!(RetryBudget::new(13).unwrap_err().to_string().starts_with("capacity: "));
}

#[test]
fn kinds_and_jitters_are_known_by_their_names() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Ok(kind));
    }
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        assert_eq!(Jitter::from_name(jitter.name()), Ok(jitter));
    }
    assert!(Kind::from_name("ratelimit").unwrap_err().to_string().contains("rate_limit, overload"));
    assert!(Jitter::from_name("none").is_err());
}

#[test]
fn a_retry_costs_by_what_it_may_waste() {
    assert_eq!(RetryBudget::cost(Kind::Timeout, true), UNSURE_COST);
    assert_eq!(RetryBudget::cost(Kind::RateLimit, false), REFUSED_COST);
    assert_eq!(RetryBudget::cost(Kind::RateLimit, true), 0);
}

#[test]
fn success_gives_back_a_little_or_what_the_last_retry_cost() {
    let mut budget = RetryBudget::default();
    assert!(budget.try_take(Kind::Timeout, false, Time::ZERO));
    assert!(budget.try_take(Kind::RateLimit, false, Time::ZERO));
    assert_eq!(budget.balance(), 81);
    budget.succeeded(Some(Kind::RateLimit), false);
    budget.succeeded(None, false);
    assert_eq!(budget.balance(), 87);
    for _ in 0..50 {
        budget.succeeded(None, false);
    }
    assert_eq!(budget.balance(), budget.capacity());
}

#[test]
fn an_empty_budget_lends_one_retry_in_ten_seconds() {
    let mut budget = RetryBudget::new(UNSURE_COST).unwrap();
    let mut asks = |second: u64| {
        (0..3)
            .filter(|_| budget.try_take(Kind::Overload, false, Time::ZERO + Duration::from_secs(second)))
            .count()
    };
    assert_eq!((asks(0), asks(9), asks(10), asks(19), asks(20)), (2, 0, 1, 0, 1));
}

#[test]
fn a_retry_that_cannot_be_paid_for_is_given_up() {
    let mut budget = RetryBudget::new(UNSURE_COST).unwrap();
    let retry = Decision::RetryAfter(seconds(1.0));
    let mut afford = |decision| budget.afford(decision, Kind::Overload, false, Time::ZERO);
    assert_eq!(afford(Decision::GiveUp(Reason::Attempts)), Decision::GiveUp(Reason::Attempts));
    assert_eq!((afford(retry), afford(retry)), (retry, retry), "its own, and the one that is lent");
    assert_eq!(afford(retry), Decision::GiveUp(Reason::Budget));
    budget.succeeded(Some(Kind::Overload), false);
    assert_eq!(budget.balance(), UNSURE_COST);
}
