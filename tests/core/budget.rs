//! Budgets: what is spent and reserved together never passes a ceiling, whatever calls take and in whatever order they end.

use proptest::prelude::*;
use ratekeeper::budget::{Ceiling, Measure, Outlay, Purse, Verdict, Window, reserve_all};

const DAY: f64 = 86_400.0;

fn usd(pico_usd: u64) -> Outlay {
    Outlay { pico_usd, tokens: 0, calls: 1 }
}

fn purse(pico_usd: u64) -> Purse {
    Purse::new(Ceiling { pico_usd: Some(pico_usd), ..Ceiling::default() }, 0.8)
}

fn daily(pico_usd: u64) -> Purse {
    let mut purse = purse(pico_usd);
    purse.begin(Window { start: 0.0, end: DAY });
    purse
}

#[test]
fn a_call_that_fits_once_others_have_settled_waits_and_one_that_never_will_is_refused() {
    let mut purse = purse(100);
    reserve_all(&mut [&mut purse], usd(60), 0.0).unwrap();
    assert_eq!(reserve_all(&mut [&mut purse], usd(60), 0.0), Err((0, Verdict::Waits(Measure::Usd))));
    assert_eq!(reserve_all(&mut [&mut purse], usd(101), 0.0), Err((0, Verdict::Exceeded(Measure::Usd))));
    purse.settle(usd(60), usd(10), 0);
    reserve_all(&mut [&mut purse], usd(60), 0.0).unwrap();
}

#[test]
fn of_two_purses_the_one_that_is_used_up_is_named_before_the_one_that_is_waited_for() {
    let (mut busy, mut empty) = (purse(100), purse(10));
    reserve_all(&mut [&mut busy], usd(90), 0.0).unwrap();
    let found = reserve_all(&mut [&mut busy, &mut empty], usd(20), 0.0);
    assert_eq!(found, Err((1, Verdict::Exceeded(Measure::Usd))));
    assert_eq!(busy.reserved(), usd(90));
}

#[test]
fn a_further_attempt_is_no_further_call_and_is_not_held_up_by_a_ceiling_on_calls() {
    let mut purse = Purse::new(Ceiling { calls: Some(1), ..Ceiling::default() }, 1.0);
    reserve_all(&mut [&mut purse], usd(1), 0.0).unwrap();
    purse.settle(usd(1), usd(1), 0);
    assert!(reserve_all(&mut [&mut purse], Outlay { calls: 0, ..usd(1) }, 0.0).is_ok());
    assert_eq!(reserve_all(&mut [&mut purse], usd(1), 0.0), Err((0, Verdict::Exceeded(Measure::Calls))));
}

#[test]
fn a_new_window_begins_with_nothing_and_what_was_reserved_before_does_not_count_in_it() {
    let mut purse = daily(100);
    reserve_all(&mut [&mut purse], usd(80), 10.0).unwrap();
    let before = purse.turn();
    assert_eq!(reserve_all(&mut [&mut purse], usd(80), DAY), Err((0, Verdict::Turns)));
    purse.begin(Window { start: DAY, end: 2.0 * DAY });
    reserve_all(&mut [&mut purse], usd(100), DAY).unwrap();
    assert!(!purse.settle(usd(80), usd(80), before));
    assert_eq!((purse.spent(), purse.reserved()), (Outlay::default(), usd(100)));
}

#[test]
fn a_clock_that_is_set_back_gives_no_second_budget() {
    let mut purse = daily(100);
    purse.begin(Window { start: DAY, end: 2.0 * DAY });
    reserve_all(&mut [&mut purse], usd(100), DAY + 1.0).unwrap();
    purse.settle(usd(100), usd(100), purse.turn());
    // An hour before midnight again: still the window of the next day.
    assert_eq!(purse.verdict(usd(1), DAY - 3600.0), Verdict::Exceeded(Measure::Usd));
    // Long before it: the window is set back too, with what is spent.
    assert_eq!(purse.verdict(usd(1), -2.0 * DAY), Verdict::Turns);
    purse.begin(Window { start: -2.0 * DAY, end: -DAY });
    assert_eq!(purse.verdict(usd(1), -2.0 * DAY), Verdict::Exceeded(Measure::Usd));
}

#[test]
fn the_step_past_the_warning_is_told_once_a_window() {
    let mut purse = daily(100);
    let mut warned = Vec::new();
    for _ in 0..5 {
        reserve_all(&mut [&mut purse], usd(20), 0.0).unwrap();
        warned.push(purse.settle(usd(20), usd(20), purse.turn()));
    }
    assert_eq!(warned, [false, false, false, true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn spent_and_reserved_never_pass_any_ceiling_of_nested_purses(
        ceilings in prop::collection::vec((1_u64..2_000, 1_u64..2_000, 1_u64..30), 1..4),
        steps in prop::collection::vec((0_u64..300, 0_u64..300, 0_usize..8, 0.0_f64..1.0), 1..120),
    ) {
        let mut purses: Vec<Purse> = ceilings
            .iter()
            .map(|&(usd, tokens, calls)| {
                Purse::new(Ceiling { pico_usd: Some(usd), tokens: Some(tokens), calls: Some(calls) }, 0.8)
            })
            .collect();
        let mut flying: Vec<(Outlay, usize)> = Vec::new();
        for (pico_usd, tokens, ended, share) in steps {
            let asked = Outlay { pico_usd, tokens, calls: 1 };
            // The first purse is everybody's; a second one belongs to some.
            let inner = ended % purses.len();
            let (first, rest) = purses.split_at_mut(1);
            let mut open = vec![&mut first[0]];
            if inner > 0 {
                open.push(&mut rest[inner - 1]);
            }
            if reserve_all(&mut open, asked, 0.0).is_ok() {
                flying.push((asked, inner));
            }
            if !flying.is_empty() && ended % 2 == 0 {
                let (asked, inner) = flying.swap_remove(ended % flying.len());
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
                let part = |whole: u64| (whole as f64 * share) as u64;
                let taken = Outlay { pico_usd: part(asked.pico_usd), tokens: part(asked.tokens), calls: 1 };
                for place in [0, inner].into_iter().take(1 + usize::from(inner > 0)) {
                    purses[place].settle(asked, taken, 0);
                }
            }
            for (purse, &(usd, tokens, calls)) in purses.iter().zip(&ceilings) {
                let (spent, reserved) = (purse.spent(), purse.reserved());
                prop_assert!(spent.pico_usd + reserved.pico_usd <= usd);
                prop_assert!(spent.tokens + reserved.tokens <= tokens);
                prop_assert!(spent.calls + reserved.calls <= calls);
            }
        }
    }
}
