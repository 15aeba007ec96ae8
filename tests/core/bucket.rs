//! One bucket: exact, never too generous, never idle, and in agreement with governor where both speak of the same.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;
use ratekeeper::bucket::Bucket;
use ratekeeper::clock::Time;
use ratekeeper::quota::{Dimension, Limit};

fn limit(amount: u64, period: Duration, burst: u64) -> Limit {
    Limit::new(Dimension::Tokens, amount, period, Some(burst)).unwrap()
}

fn limits() -> impl Strategy<Value = Limit> {
    (1u64..5_000, 1u64..120_000, 1u64..5_000)
        .prop_map(|(amount, millis, burst)| limit(amount, Duration::from_millis(millis), burst))
}

/// Steps of time and amounts, as they come at a bucket: mostly close together, sometimes after a pause.
fn arrivals(most: usize) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let pause = prop_oneof![4 => 0u64..50_000_000, 1 => 0u64..60_000_000_000];
    prop::collection::vec((pause, 1u64..2_000), 1..most)
}

/// Whether the amounts stay within burst + rate x time in every window, in exact arithmetic.
pub(crate) fn keeps_to(limit: &Limit, charges: &[(Time, u64)]) -> bool {
    let period = limit.period().as_nanos();
    charges.iter().enumerate().all(|(first, (start, _))| {
        let mut sum = 0u128;
        charges[first..].iter().all(|(end, amount)| {
            sum += u128::from(*amount);
            let refill = end.since(*start).as_nanos() * u128::from(limit.amount());
            sum * period <= u128::from(limit.burst()) * period + refill
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_window_ever_holds_more_than_burst_and_refill(limit in limits(), arrivals in arrivals(60)) {
        let mut bucket = Bucket::new(limit);
        let (mut now, mut charges) = (Time::ZERO, Vec::new());
        for (pause, amount) in arrivals {
            now = now + Duration::from_nanos(pause);
            let amount = amount.min(limit.burst());
            if bucket.has_room(amount, now) {
                bucket.charge(amount, now);
                charges.push((now, amount));
            }
        }
        prop_assert!(keeps_to(&limit, &charges));
    }

    #[test]
    fn refunds_never_create_quota(limit in limits(), arrivals in arrivals(60), returns in prop::collection::vec((0usize..60, 0u64..2_000), 0..60)) {
        let mut bucket = Bucket::new(limit);
        let (mut now, mut charges) = (Time::ZERO, Vec::<(Time, u64)>::new());
        let mut returns = returns.into_iter();
        for (pause, amount) in arrivals {
            now = now + Duration::from_nanos(pause);
            let amount = amount.min(limit.burst());
            if bucket.has_room(amount, now) {
                bucket.charge(amount, now);
                charges.push((now, amount));
            }
            if let Some((which, unused)) = returns.next()
                && let Some((at, amount)) = charges.get_mut(which)
            {
                let unused = unused.min(*amount);
                bucket.refund(unused, *at);
                *amount -= unused;
            }
        }
        prop_assert!(keeps_to(&limit, &charges));
    }

    #[test]
    fn a_refund_leaves_the_bucket_as_if_the_real_usage_had_been_charged(
        limit in limits(), arrivals in arrivals(8), returns in prop::collection::vec((0usize..8, 0u64..2_000), 0..8)
    ) {
        let mut bucket = Bucket::new(limit);
        let (mut now, mut charges) = (Time::ZERO, Vec::<(Time, u64)>::new());
        for (pause, amount) in arrivals {
            now = now + Duration::from_nanos(pause);
            bucket.charge(amount, now);
            charges.push((now, amount));
        }
        for (which, unused) in returns {
            if let Some((at, amount)) = charges.get_mut(which) {
                let unused = unused.min(*amount);
                bucket.refund(unused, *at);
                *amount -= unused;
            }
        }
        let mut as_if = Bucket::new(limit);
        for (at, amount) in charges {
            as_if.charge(amount, at);
        }
        prop_assert_eq!(bucket.remaining(now), as_if.remaining(now));
        prop_assert_eq!(bucket.full_at().max(now), as_if.full_at().max(now));
    }

    #[test]
    fn with_many_leases_a_refund_gives_back_less_rather_than_more(
        limit in limits(), arrivals in arrivals(60), returns in prop::collection::vec((0usize..60, 0u64..2_000), 0..60)
    ) {
        let mut bucket = Bucket::new(limit);
        let (mut now, mut charges) = (Time::ZERO, Vec::<(Time, u64)>::new());
        for (pause, amount) in arrivals {
            now = now + Duration::from_nanos(pause);
            bucket.charge(amount, now);
            charges.push((now, amount));
        }
        for (which, unused) in returns {
            if let Some((at, amount)) = charges.get_mut(which) {
                let unused = unused.min(*amount);
                bucket.refund(unused, *at);
                *amount -= unused;
            }
        }
        let mut as_if = Bucket::new(limit);
        for (at, amount) in charges {
            as_if.charge(amount, at);
        }
        prop_assert!(bucket.full_at().max(now) >= as_if.full_at().max(now));
    }

    #[test]
    fn the_time_told_is_the_first_at_which_the_amount_fits(limit in limits(), arrivals in arrivals(20), asked in 1u64..5_000) {
        let mut bucket = Bucket::new(limit);
        let mut now = Time::ZERO;
        for (pause, amount) in arrivals {
            now = now + Duration::from_nanos(pause);
            bucket.charge(amount, now);
        }
        let asked = asked.min(limit.largest_call());
        let ready_at = bucket.ready_at(0, asked);
        prop_assert!(bucket.has_room(asked, ready_at));
        if ready_at > Time::ZERO {
            prop_assert!(!bucket.has_room(asked, Time::from_nanos(ready_at.nanos() - 1)));
        }
    }

    #[test]
    fn one_plain_bucket_agrees_with_the_governor_crate(
        amount in 1u32..200, step in 1_000u64..10_000_000, pauses in prop::collection::vec(0u64..20_000_000, 1..200)
    ) {
        // Governor counts in whole nanoseconds a cell, so a period that divides evenly is where both mean the same.
        let period = Duration::from_nanos(u64::from(amount) * step).max(Duration::from_millis(1));
        let interval = period / amount;
        prop_assume!(interval * amount == period);
        let clock = FakeRelativeClock::default();
        let burst = NonZeroU32::new(amount).unwrap();
        let quota = governor::Quota::with_period(interval).unwrap().allow_burst(burst);
        let theirs = governor::RateLimiter::direct_with_clock(quota, clock.clone());
        let mut ours = Bucket::new(limit(amount.into(), period, amount.into()));
        let mut now = Time::ZERO;
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            now = now + Duration::from_nanos(pause);
            let fits = ours.has_room(1, now);
            if fits {
                ours.charge(1, now);
            }
            prop_assert_eq!(fits, theirs.check().is_ok());
        }
    }
}

#[test]
fn a_call_above_the_burst_is_admitted_on_a_full_bucket_and_carries_the_debt() {
    let mut bucket = Bucket::new(limit(60, Duration::from_mins(1), 10));
    bucket.charge(1, Time::ZERO);
    assert!(!bucket.has_room(50, Time::ZERO));
    assert_eq!(bucket.ready_at(0, 50), Time::ZERO + Duration::from_secs(1));
    bucket.charge(50, Time::ZERO + Duration::from_secs(1));
    assert_eq!(bucket.remaining(Time::ZERO + Duration::from_secs(1)), -40);
    assert_eq!(bucket.ready_at(0, 1), Time::ZERO + Duration::from_secs(1 + 41));
}

#[test]
fn another_limit_adds_the_difference_to_what_remains() {
    let mut bucket = Bucket::new(limit(100, Duration::from_mins(1), 100));
    bucket.charge(30, Time::ZERO);
    bucket.set_limit(limit(50, Duration::from_mins(1), 50), Time::ZERO);
    assert_eq!(bucket.remaining(Time::ZERO), 20);
    bucket.set_limit(limit(200, Duration::from_mins(1), 200), Time::ZERO);
    assert_eq!(bucket.remaining(Time::ZERO), 170);
}

#[test]
fn the_largest_quota_over_the_longest_period_does_not_overflow() {
    let day = Duration::from_hours(24 * 31);
    let mut bucket = Bucket::new(limit(1_000_000_000_000, day, 1_000_000_000_000));
    let late = Time::from_nanos(u64::MAX / 2);
    bucket.charge(1_000_000_000_000, late);
    assert_eq!(bucket.remaining(late), 0);
    assert_eq!(bucket.full_at(), late + day);
}
