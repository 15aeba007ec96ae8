//! Values: what is accepted, and what is said of the rest.

use std::time::Duration;

use ratekeeper::error::Error;
use ratekeeper::quota::{Dimension, Limit, MAX_AMOUNT, Quota};

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn the_burst_is_the_whole_amount_unless_told_otherwise() {
    assert_eq!(Limit::new(Dimension::Requests, 500, MINUTE, None).unwrap().burst(), 500);
    assert_eq!(Limit::new(Dimension::Requests, 500, MINUTE, Some(10)).unwrap().burst(), 10);
}

#[test]
fn zero_and_absurd_numbers_are_refused_by_name() {
    let text = |result: Result<Limit, Error>| result.unwrap_err().to_string();
    let zero = text(Limit::new(Dimension::Tokens, 0, MINUTE, None));
    assert_eq!(zero, "amount: expected a whole number from 1 to 1000000000000, got 0");
    assert!(text(Limit::new(Dimension::Tokens, MAX_AMOUNT + 1, MINUTE, None)).starts_with("amount: "));
    assert!(text(Limit::new(Dimension::Tokens, 1, MINUTE, Some(0))).starts_with("burst: "));
    assert!(text(Limit::new(Dimension::Tokens, 1, Duration::ZERO, None)).starts_with("per: "));
    assert!(text(Limit::new(Dimension::Concurrency, 1, MINUTE, None)).starts_with("dimension: "));
}

#[test]
fn two_limits_of_one_dimension_and_period_contradict_each_other() {
    let limit = Limit::new(Dimension::Requests, 500, MINUTE, None).unwrap();
    assert!(Quota::new(vec![limit, limit], None).unwrap_err().to_string().starts_with("limits: "));
    let hourly = Limit::new(Dimension::Requests, 500, Duration::from_hours(1), None).unwrap();
    assert_eq!(Quota::new(vec![limit, hourly], None).unwrap().limits().len(), 2);
}

#[test]
fn headroom_takes_from_the_burst_what_the_rate_gives_in_that_time() {
    let quota = Quota::new(vec![Limit::new(Dimension::Requests, 600, MINUTE, None).unwrap()], None).unwrap();
    assert_eq!(quota.with_headroom(Duration::from_millis(250)).limits()[0].burst(), 597);
    assert_eq!(quota.with_headroom(Duration::from_hours(2)).limits()[0].burst(), 1);
    assert_eq!(quota.with_headroom(Duration::MAX).limits()[0].burst(), 1);
}
