//! Fifty callers and providers of every kind: how many requests are refused, and how much of what could be accepted is.

use std::collections::VecDeque;
use std::time::Duration;

use ratekeeper::clock::Time;

use crate::callers::{Outcome, Trial};
use crate::provider::{Provider, Shape, whole};

/// Requests a second.
const RATES: [f64; 3] = [1.0, 10.0, 100.0];
const LASTS: Duration = Duration::from_mins(10);

fn shapes(a_minute: f64) -> [(&'static str, Shape); 3] {
    [
        ("bucket", Shape::Bucket(a_minute, Time::ZERO)),
        ("fixed", Shape::Fixed(0.0, Time::ZERO)),
        ("sliding", Shape::Sliding(VecDeque::new())),
    ]
}

/// A bucket of so many requests a second, of which the limiter knows that share; 0 for nothing.
fn bucket(rate: f64, known: f64) -> Trial {
    let told = (known > 0.0).then(|| whole(rate * 60.0 * known) as u64);
    Trial { provider: Provider::bucket(rate * 60.0), told, change: None, lasts: LASTS, others: 0.0 }
}

impl Trial {
    fn without_headers(mut self, names_wait: bool) -> Self {
        (self.provider.has_headers, self.provider.names_wait) = (false, names_wait);
        self
    }

    fn charging(mut self) -> Self {
        self.provider.charges_refusals = true;
        self
    }

    fn changed(mut self, factor: f64) -> Self {
        self.change = ((factor - 1.0).abs() > 0.01).then_some((LASTS / 2, factor));
        self
    }

    /// Of three runs together.
    fn outcome(&self) -> Outcome {
        let runs = [7, 8, 9].map(|seed| self.run(seed));
        Outcome {
            sent: runs.iter().map(|run| run.sent).sum(),
            refused: runs.iter().map(|run| run.refused).sum(),
            share: runs.iter().map(|run| run.share).sum::<f64>() / 3.0,
            most_refusals: runs.iter().map(|run| run.most_refusals).max().unwrap_or_default(),
        }
    }

    #[track_caller]
    fn reaches(&self, share: f64, refused: f64) {
        let outcome = self.outcome();
        assert!(outcome.share >= share && outcome.refused_share() <= refused, "{outcome:?}");
    }
}

#[test]
fn a_known_limit_is_used_up_and_not_overrun() {
    for rate in RATES {
        bucket(rate, 1.0).reaches(0.97, 0.0);
        bucket(rate, 1.0).without_headers(false).reaches(0.97, 0.0);
        bucket(rate, 1.0).charging().reaches(0.97, 0.0);
    }
}

#[test]
fn a_limit_that_is_halved_is_followed() {
    for rate in RATES {
        bucket(rate, 1.0).changed(0.5).reaches(0.97, 0.01);
        bucket(rate, 1.0).without_headers(true).changed(0.5).reaches(0.97, 0.04);
        bucket(rate, 1.0).without_headers(false).changed(0.5).reaches(0.97, 0.04);
        bucket(rate, 0.0).changed(0.5).reaches(0.97, 0.01);
    }
}

#[test]
fn a_limit_that_nobody_names_is_learned_from_the_first_headers() {
    for rate in RATES {
        bucket(rate, 0.0).reaches(0.95, 0.01);
        bucket(rate, 0.0).charging().reaches(0.95, 0.01);
        bucket(rate, 0.0).changed(2.0).reaches(0.95, 0.01);
    }
}

#[test]
fn without_headers_the_limit_is_found() {
    for (rate, refused) in RATES.into_iter().zip([0.08, 0.01, 0.01]) {
        for names_wait in [true, false] {
            // At one a second the opening burst, of which a seventh is refused, is a tenth of the run.
            bucket(rate, 0.0).without_headers(names_wait).reaches(0.95, refused);
            bucket(rate, 0.0).without_headers(names_wait).changed(2.0).reaches(0.85, refused);
        }
    }
}

#[test]
fn who_charges_refusals_is_refused_little() {
    for rate in [10.0, 100.0] {
        bucket(rate, 0.0).without_headers(true).charging().reaches(0.97, 0.01);
        bucket(rate, 1.5).charging().reaches(0.97, 0.01);
        bucket(rate, 1.5).without_headers(true).charging().reaches(0.97, 0.01);
    }
}

#[test]
fn windows_are_not_emptied_at_each_turn() {
    for rate in RATES {
        for (_, shape) in shapes(rate * 60.0).into_iter().skip(1) {
            for known in [0.0, 1.0] {
                let mut trial = bucket(rate, known);
                trial.provider.shape = shape.clone();
                trial.reaches(0.95, 0.01);
            }
        }
    }
}

#[test]
#[ignore = "prints a table for whoever tunes"]
fn all_trials_as_a_table() {
    println!("share refused, share of the ideal: with headers and a wait, headers, a wait, neither");
    for rate in RATES {
        for (name, shape) in shapes(rate * 60.0) {
            for known in [1.0, 0.0, 1.5] {
                for (factor, charges) in [(1.0, false), (0.5, false), (2.0, false), (1.0, true), (0.5, true)]
                {
                    let trial = Trial {
                        provider: Provider {
                            shape: shape.clone(),
                            charges_refusals: charges,
                            ..Provider::bucket(rate * 60.0)
                        },
                        ..bucket(rate, known)
                    };
                    if known == 0.0 || factor <= 1.0 {
                        println!(
                            "{name:<8}{rate:>4}/s told x{known:<4} then x{factor:<4} charges {charges:<6}{}",
                            cells(&trial.changed(factor))
                        );
                    }
                }
            }
        }
    }
}

fn cells(trial: &Trial) -> String {
    let hints = [(true, true), (true, false), (false, true), (false, false)];
    let cells = hints.map(|(has_headers, names_wait)| {
        let provider = Provider { has_headers, names_wait, ..trial.provider.clone() };
        let outcome = Trial { provider, ..trial.clone() }.outcome();
        format!("{:7.1}% {:.3}", outcome.refused_share() * 100.0, outcome.share)
    });
    cells.concat()
}
