//! Purses and retry budgets of several processes, in virtual time: each of these tills is another process.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ratekeeper::budget::{Ceiling, Measure, Outlay, Verdict, Window};
use ratekeeper::clock::{Clock, ManualClock};
use ratekeeper::retry::{CAPACITY, Kind, TRICKLE, UNSURE_COST};
use ratekeeper::store::purses::{Answer, Asked, Claimed, PLACE_KEPT, Purses};
use ratekeeper::store::retries::Retries;
use ratekeeper::store::{Policy, SqlitePurses};

use crate::stores::new_file;

const DAY: f64 = 86_400.0;
/// A day of which nobody thinks that it is over for long.
const SOME_DAY: f64 = 40_000.0;

pub(crate) fn processes(count: usize) -> (Vec<SqlitePurses>, Arc<ManualClock>) {
    let (path, clock) = (new_file(), Arc::new(ManualClock::default()));
    let open = |_| SqlitePurses::open(&path, Policy::Share, Some(clock.clone() as Arc<dyn Clock>)).unwrap();
    ((0..count).map(open).collect(), clock)
}

pub(crate) fn usd(pico_usd: u64) -> Outlay {
    Outlay { pico_usd, tokens: 0, calls: 1 }
}

pub(crate) fn asked(key: &str, most: u64) -> Asked {
    let ceiling = Ceiling { pico_usd: Some(most), ..Ceiling::default() };
    Asked { key: key.into(), ceiling, warn_at: 0.8, window: Window::EVER, is_first_word: false }
}

pub(crate) fn on_day(day: f64, most: u64) -> Asked {
    let start = (SOME_DAY + day) * DAY;
    Asked { window: Window { start, end: start + DAY }, ..asked("daily", most) }
}

pub(crate) fn held(answer: Answer) -> Claimed {
    match answer {
        Answer::Held(claimed) => claimed,
        other => panic!("expected a hold, got {other:?}"),
    }
}

pub(crate) fn refusal(answer: &Answer) -> (usize, Verdict) {
    match answer {
        Answer::Refused(place, verdict, _) => (*place, *verdict),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

const WAITS: Verdict = Verdict::Waits(Measure::Usd);

#[test]
fn what_one_process_reserves_and_takes_another_cannot() {
    let (all, _) = processes(2);
    let purse = [asked("a", 100)];
    let first = held(all[0].claim(&purse, usd(60), 0.0).unwrap());
    assert_eq!(refusal(&all[1].claim(&purse, usd(60), 0.0).unwrap()), (0, WAITS));
    let settled = all[0].settle(&purse, &first, usd(60), usd(50)).unwrap();
    assert_eq!(
        (settled[0].0, settled[0].1.spent(), settled[0].1.reserved()),
        (false, usd(50), Outlay::default())
    );
    assert_eq!(refusal(&all[1].claim(&purse, usd(60), 0.0).unwrap()), (0, Verdict::Exceeded(Measure::Usd)));
    let second = held(all[1].claim(&purse, usd(50), 0.0).unwrap());
    assert!(all[1].settle(&purse, &second, usd(50), usd(50)).unwrap()[0].0, "that is past the warning");
}

#[test]
fn all_purses_of_a_call_are_taken_from_or_none() {
    let (all, _) = processes(2);
    let both = [asked("wide", 1_000), asked("narrow", 50)];
    held(all[0].claim(&both, usd(40), 0.0).unwrap());
    assert_eq!(refusal(&all[1].claim(&both, usd(40), 0.0).unwrap()), (1, WAITS));
    assert_eq!(all[1].read(&both[0]).unwrap().reserved(), usd(40));
}

#[test]
fn a_process_that_waits_is_not_passed_and_one_that_falls_silent_is() {
    let (all, clock) = processes(3);
    let purse = [asked("a", 100)];
    let first = held(all[0].claim(&purse, usd(60), 0.0).unwrap());
    assert_eq!(refusal(&all[1].claim(&purse, usd(90), 0.0).unwrap()), (0, WAITS));
    clock.advance(Duration::from_millis(1));
    // It would fit, but stands behind.
    assert_eq!(refusal(&all[2].claim(&purse, usd(10), 0.0).unwrap()), (0, WAITS));
    all[0].settle(&purse, &first, usd(60), usd(0)).unwrap();
    assert_eq!(refusal(&all[2].claim(&purse, usd(10), 0.0).unwrap()), (0, WAITS));
    clock.advance(PLACE_KEPT);
    held(all[2].claim(&purse, usd(10), 0.0).unwrap());
}

#[test]
fn two_who_wait_for_the_same_purses_never_wait_for_each_other() {
    let (all, clock) = processes(3);
    let (a, b) = (asked("a", 100), asked("b", 100));
    let in_a = held(all[0].claim(std::slice::from_ref(&a), usd(60), 0.0).unwrap());
    assert_eq!(refusal(&all[1].claim(&[a.clone(), b.clone()], usd(90), 0.0).unwrap()).1, WAITS);
    clock.advance(Duration::from_millis(1));
    let in_b = held(all[0].claim(std::slice::from_ref(&b), usd(60), 0.0).unwrap());
    assert_eq!(refusal(&all[2].claim(&[b.clone(), a.clone()], usd(90), 0.0).unwrap()).1, WAITS);
    all[0].settle(std::slice::from_ref(&a), &in_a, usd(60), usd(0)).unwrap();
    all[0].settle(std::slice::from_ref(&b), &in_b, usd(60), usd(0)).unwrap();
    assert_eq!(refusal(&all[2].claim(&[b.clone(), a.clone()], usd(90), 0.0).unwrap()).1, WAITS);
    held(all[1].claim(&[a, b], usd(90), 0.0).unwrap());
}

#[test]
fn what_a_process_held_that_is_missed_counts_in_full_and_once() {
    let (all, clock) = processes(2);
    let purse = [asked("a", 100)];
    let gone = held(all[0].claim(&purse, usd(60), 0.0).unwrap());
    assert_eq!(refusal(&all[1].claim(&purse, usd(60), 0.0).unwrap()), (0, WAITS));
    clock.advance(Duration::from_secs(11));
    assert_eq!(all[1].read(&purse[0]).unwrap().spent(), usd(60));
    assert_eq!(refusal(&all[1].claim(&purse, usd(60), 0.0).unwrap()), (0, Verdict::Exceeded(Measure::Usd)));
    // It was only stopped: what it settles now was counted.
    all[0].settle(&purse, &gone, usd(60), usd(60)).unwrap();
    assert_eq!(all[1].read(&purse[0]).unwrap().spent(), usd(60));
}

#[test]
fn a_process_whose_clock_is_behind_does_not_turn_a_window_back() {
    let (all, _) = processes(2);
    let old = held(all[0].claim(&[on_day(0.0, 100)], usd(30), SOME_DAY * DAY).unwrap());
    let new = [on_day(1.0, 100)];
    let next = held(all[1].claim(&new, usd(100), (SOME_DAY + 1.0) * DAY).unwrap());
    all[1].settle(&new, &next, usd(100), usd(100)).unwrap();
    // Of the window before: counted there.
    all[0].settle(&[on_day(0.0, 100)], &old, usd(30), usd(30)).unwrap();
    assert_eq!(
        refusal(&all[0].claim(&[on_day(0.0, 100)], usd(1), (SOME_DAY + 1.0) * DAY - 1.0).unwrap()),
        (0, Verdict::Exceeded(Measure::Usd))
    );
    assert_eq!(all[0].read(&on_day(0.0, 100)).unwrap().spent(), usd(100));
    assert_eq!(all[0].read(&on_day(2.0, 100)).unwrap().spent(), Outlay::default());
}

#[test]
fn the_last_ceiling_that_was_configured_counts_and_one_that_was_raised_stays_until_then() {
    let (all, _) = processes(2);
    let word = |most| [Asked { is_first_word: true, ..asked("a", most) }];
    held(all[0].claim(&word(100), usd(60), 0.0).unwrap());
    all[0].set_ceiling(&asked("a", 200)).unwrap();
    held(all[1].claim(&word(100), usd(60), 0.0).unwrap());
    assert_eq!(refusal(&all[1].claim(&word(70), usd(60), 0.0).unwrap()), (0, WAITS));
    all[0].charge(&asked("a", 0), usd(7), 0.0).unwrap();
    let purse = all[0].read(&asked("a", 0)).unwrap();
    assert_eq!((purse.ceiling().pico_usd, purse.spent(), purse.reserved().pico_usd), (Some(70), usd(7), 120));
}

#[test]
fn an_outage_is_paid_from_one_retry_budget() {
    let (all, clock) = processes(3);
    let taken = |process: &SqlitePurses| process.try_take("a", Kind::Connection, false).unwrap();
    clock.advance(TRICKLE);
    let retries = (0..30).filter(|turn| taken(&all[turn % 3])).count();
    assert_eq!(retries, usize::try_from(CAPACITY / UNSURE_COST).unwrap() + 1, "and one is lent");
    clock.advance(TRICKLE);
    assert!(taken(&all[0]) && !taken(&all[1]) && !taken(&all[2]));
    all[1].succeeded("a", Some(Kind::Connection), false).unwrap();
    assert_eq!(all[2].balance("a").unwrap(), UNSURE_COST);
    assert_eq!(all[2].balance("b").unwrap(), CAPACITY);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_is_given_twice_whoever_is_missed_meanwhile(
        steps in prop::collection::vec((0_usize..4, 0_u64..80, 0_usize..6, 0.0_f64..1.0, 0_u64..3_000), 1..120),
    ) {
        let (all, clock) = processes(4);
        let purses = [asked("a", 1_000), asked("b", 700)];
        let mut flying: Vec<(usize, Outlay, Claimed)> = Vec::new();
        let mut sent = 0;
        for (who, pico, act, share, millis) in steps {
            clock.advance(Duration::from_millis(millis));
            match act {
                0..=3 => {
                    if let Answer::Held(claimed) = all[who].claim(&purses, usd(pico), 0.0).unwrap() {
                        flying.push((who, usd(pico), claimed));
                    }
                }
                4 if !flying.is_empty() => {
                    let (who, reserved, claimed) = flying.swap_remove(who % flying.len());
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of it")]
                    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
                    let taken = (reserved.pico_usd as f64 * share) as u64;
                    all[who].settle(&purses, &claimed, reserved, usd(taken)).unwrap();
                    sent += taken;
                }
                // Whoever says nothing for so long is missed.
                5 => clock.advance(Duration::from_secs(11)),
                _ => {}
            }
            let reserved: u64 = flying.iter().map(|(_, held, _)| held.pico_usd).sum();
            prop_assert!(sent + reserved <= 700, "{sent} and {reserved}");
        }
    }
}
