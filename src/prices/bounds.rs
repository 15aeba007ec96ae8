//! The most that a call can cost before it is made.
//! Pure, as the rates are.

use super::moment::{Moment, When};
use super::rates::{FILLER, InForce, Kind, Segment, in_force, rate_of};

/// Every kind that input can turn out to be.
const INPUTS: [Kind; 6] = [
    Kind::Input,
    Kind::CacheRead,
    Kind::CacheWrite,
    Kind::CacheWrite1h,
    Kind::InputAudio,
    Kind::CacheReadAudio,
];
/// Every kind that output can turn out to be.
const OUTPUTS: [Kind; 3] = [Kind::Output, Kind::Reasoning, Kind::OutputAudio];

/// Pico-USD that no usage of at most so many tokens can pass, whenever it is charged within a day from then.
///
/// `tier` is the only service tier beside the standard one that it can be charged for; `None` for any.
#[must_use]
pub fn worst(
    segments: &[Segment],
    input: u64,
    output: u64,
    tier: Option<&str>,
    at: Moment,
    next: Moment,
) -> u128 {
    let mut dearest = 0;
    for moment in moments(segments, at, next) {
        for tier in tiers(segments, tier) {
            let rates = in_force(segments, tier, moment);
            dearest = dearest.max(most(&rates, input, output));
        }
    }
    dearest
}

fn most(rates: &InForce<'_>, input: u64, output: u64) -> u128 {
    let rate = |kinds: &[Kind]| {
        let known = kinds.iter().filter_map(|&kind| rate_of(rates, kind));
        u128::from(known.map(|rate| rate.dearest(input)).max().unwrap_or(0))
    };
    rate(&INPUTS) * u128::from(input) + rate(&OUTPUTS) * u128::from(output) + rate(&[Kind::Request])
}

fn tiers<'a>(segments: &'a [Segment], only: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let named = segments.iter().map(|segment| segment.tier.as_str());
    let wanted = named.filter(move |tier| *tier != FILLER && only.is_none_or(|only| only == *tier));
    std::iter::once("").chain(wanted)
}

/// Now, and whenever else another price begins before the call is charged: on another day, at another hour.
fn moments(segments: &[Segment], at: Moment, next: Moment) -> Vec<Moment> {
    let (mut dates, mut times) = (vec![at.date], vec![at.time]);
    for segment in segments {
        match segment.when {
            When::Since(date) if date > at.date && date <= next.date => dates.push(date),
            When::Daily(from, until) => times.extend([from, until]),
            _ => {}
        }
    }
    let at = |date| times.iter().map(move |&time| Moment { date, time });
    dates.into_iter().flat_map(at).collect()
}
