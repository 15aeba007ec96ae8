//! What a provider tells of its limits, as it comes from Python: nothing in it is believed that is out of range.

use std::time::Duration;

use pyo3::prelude::*;

use crate::pace::Told;
use crate::quota::Dimension;

/// The fields of a `providers.limits.LearnedLimit`.
#[derive(FromPyObject)]
pub(super) struct LearnedLimit {
    dimension: String,
    per: Option<f64>,
    limit: Option<u64>,
    remaining: Option<u64>,
    rounded_to: u64,
}

#[allow(clippy::needless_pass_by_value, reason = "it is taken apart")]
pub(super) fn told_of(limit: LearnedLimit) -> Option<Told> {
    Some(Told {
        dimension: dimension_of(&limit.dimension)?,
        period: limit.per.and_then(period_of),
        limit: limit.limit,
        remaining: limit.remaining,
        rounded_to: limit.rounded_to,
    })
}

/// The dimension of that name, unless it is one that nobody counts here, such as images.
pub(super) fn dimension_of(name: &str) -> Option<Dimension> {
    match name {
        "concurrency" => Some(Dimension::Concurrency),
        _ => Dimension::from_name(name).ok(),
    }
}

pub(super) fn period_of(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}
