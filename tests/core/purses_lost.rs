//! Budgets while their store is out of reach, and after it: in virtual time, on a file that can be put out of reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;
use ratekeeper::budget::{Ceiling, Measure, Outlay, Purse, Verdict, Window};
use ratekeeper::error::{Error, Result};
use ratekeeper::store::{Policy, SqlitePurses};

use ratekeeper::store::purses::{ALL_HAVE_TOLD, Answer, Asked, Claimed, Purses, Settled, Surviving};

use crate::purses::{asked, held, on_day, processes, refusal, usd};

/// A way to a store that can be cut.
struct Wire {
    store: SqlitePurses,
    is_cut: Arc<AtomicBool>,
    processes: Arc<AtomicU64>,
}

impl Wire {
    fn there(&self) -> Result<&SqlitePurses> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(Error::shared("a store", "it is away"));
        }
        Ok(&self.store)
    }
}

impl Purses for Wire {
    fn claim(&self, asked: &[Asked], outlay: Outlay, now: f64) -> Result<Answer> {
        self.there()?.claim(asked, outlay, now)
    }

    fn settle(
        &self,
        asked: &[Asked],
        claimed: &Claimed,
        reserved: Outlay,
        taken: Outlay,
    ) -> Result<Vec<Settled>> {
        self.there()?.settle(asked, claimed, reserved, taken)
    }

    fn charge(&self, asked: &Asked, taken: Outlay, now: f64) -> Result<()> {
        self.there()?.charge(asked, taken, now)
    }

    fn set_ceiling(&self, asked: &Asked) -> Result<()> {
        self.there()?.set_ceiling(asked)
    }

    fn read(&self, asked: &Asked) -> Result<Purse> {
        self.there()?.read(asked)
    }

    fn processes(&self) -> u64 {
        self.processes.load(Ordering::Relaxed)
    }
}

struct World {
    all: Vec<Surviving<Wire>>,
    is_cut: Arc<AtomicBool>,
    now: f64,
}

impl World {
    fn new(count: usize, policy: Policy) -> Self {
        let (is_cut, known) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(count as u64)));
        let (stores, _) = processes(count);
        let wires =
            stores.into_iter().map(|store| Wire { store, is_cut: is_cut.clone(), processes: known.clone() });
        Self { all: wires.map(|wire| Surviving::new(wire, policy)).collect(), is_cut, now: 0.0 }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// A call of one process, from its start to its end.
    fn spend(&self, who: usize, purse: &[Asked], pico: u64) {
        let claimed = held(self.all[who].claim(purse, usd(pico), self.now).unwrap());
        self.all[who].settle(purse, &claimed, usd(pico), usd(pico)).unwrap();
    }
}

const EXCEEDED: Verdict = Verdict::Exceeded(Measure::Usd);

#[test]
fn a_loss_that_a_pulse_notices_first_is_one() {
    let world = World::new(2, Policy::Share);
    let purse = [asked("a", 100)];
    world.spend(0, &purse, 20);
    world.cut(true);
    assert!(world.all[0].heard(world.all[0].store().read(&purse[0])).is_err());
    world.spend(0, &purse, 40);
    assert_eq!(refusal(&world.all[0].claim(&purse, usd(1), 0.0).unwrap()), (0, EXCEEDED));
}

#[test]
fn what_calls_in_flight_hold_when_the_store_is_lost_is_in_nobodys_share() {
    let world = World::new(1, Policy::Share);
    let purse = [asked("a", 100)];
    let flying = held(world.all[0].claim(&purse, usd(30), 0.0).unwrap());
    world.cut(true);
    assert_eq!(refusal(&world.all[0].claim(&purse, usd(71), 0.0).unwrap()), (0, EXCEEDED));
    world.spend(0, &purse, 70);
    world.cut(false);
    world.all[0].make_up(0.0).unwrap();
    world.all[0].settle(&purse, &flying, usd(30), usd(30)).unwrap();
    assert_eq!(world.all[0].read(&purse[0]).unwrap().spent().pico_usd, 100);
}

#[test]
fn each_process_goes_on_with_its_share_of_what_was_left_and_makes_it_up() {
    let mut world = World::new(2, Policy::Share);
    let purse = [asked("a", 100)];
    world.spend(0, &purse, 20);
    world.spend(1, &purse, 20);
    world.all[0].read(&purse[0]).unwrap();
    world.cut(true);
    for who in 0..2 {
        world.spend(who, &purse, 25);
        assert_eq!(refusal(&world.all[who].claim(&purse, usd(6), 0.0).unwrap()), (0, EXCEEDED));
        assert!(world.all[who].is_lost());
    }
    // One call is under way when the store is back.
    let late = held(world.all[0].claim(&purse, usd(5), 0.0).unwrap());
    world.cut(false);
    let waits = Verdict::Waits(Measure::Usd);
    assert_eq!(refusal(&world.all[1].claim(&purse, usd(1), 0.0).unwrap()), (0, waits), "for the others");
    world.all[0].make_up(0.0).unwrap();
    assert!(!world.all[0].is_lost() && !world.all[1].is_lost());
    world.now = ALL_HAVE_TOLD;
    world.spend(1, &purse, 1);
    assert_eq!(world.all[0].read(&purse[0]).unwrap().spent().pico_usd, 20 + 20 + 25 + 25 + 5 + 1);
    // It was counted in full.
    world.all[0].settle(&purse, &late, usd(5), usd(2)).unwrap();
    assert_eq!(world.all[1].read(&purse[0]).unwrap().spent().pico_usd, 96);
    assert_eq!(world.all[0].read(&purse[0]).unwrap().reserved(), Outlay::default());
}

#[test]
fn a_new_window_without_a_store_has_its_share_of_the_whole() {
    let world = World::new(4, Policy::Share);
    world.all[0].read(&on_day(0.0, 100)).unwrap();
    world.cut(true);
    let next = [on_day(1.0, 100)];
    let now = next[0].window.start;
    assert_eq!(refusal(&world.all[0].claim(&next, usd(26), now).unwrap()), (0, EXCEEDED));
    held(world.all[0].claim(&next, usd(25), now).unwrap());
}

#[test]
fn of_a_purse_that_was_never_seen_there_is_no_share() {
    let world = World::new(2, Policy::Share);
    world.cut(true);
    assert!(matches!(world.all[0].claim(&[asked("a", 100)], usd(1), 0.0), Err(Error::Store { .. })));
}

#[test]
fn closed_refuses_and_open_asks_nobody_but_is_charged_later() {
    let (closed, open) = (World::new(1, Policy::Closed), World::new(1, Policy::Open));
    let purse = [asked("a", 100)];
    closed.spend(0, &purse, 1);
    closed.cut(true);
    assert!(matches!(closed.all[0].claim(&purse, usd(1), 0.0), Err(Error::Store { .. })));
    open.cut(true);
    open.spend(0, &purse, 900);
    open.cut(false);
    open.all[0].make_up(0.0).unwrap();
    assert_eq!(refusal(&open.all[0].claim(&purse, usd(1), ALL_HAVE_TOLD).unwrap()), (0, EXCEEDED));
    assert_eq!(open.all[0].read(&purse[0]).unwrap().spent().pico_usd, 900);
}

#[test]
fn a_call_from_before_is_settled_when_the_store_is_back() {
    let world = World::new(1, Policy::Share);
    let purse = [asked("a", 100)];
    let before = held(world.all[0].claim(&purse, usd(60), 0.0).unwrap());
    world.cut(true);
    assert!(world.all[0].settle(&purse, &before, usd(60), usd(10)).is_err());
    world.cut(false);
    world.all[0].settle(&purse, &before, usd(60), usd(10)).unwrap();
    assert_eq!(world.all[0].read(&purse[0]).unwrap().spent().pico_usd, 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn however_often_the_store_is_lost_the_ceiling_holds(
        steps in prop::collection::vec((0_usize..3, 1_u64..60, 0_usize..8, 0.0_f64..1.0), 1..150),
    ) {
        let mut world = World::new(3, Policy::Share);
        let ceiling = Ceiling { pico_usd: Some(1_000), ..Ceiling::default() };
        let purse = [Asked { ceiling, window: Window::EVER, ..asked("a", 0) }];
        let mut flying: Vec<(usize, Outlay, Claimed)> = Vec::new();
        let mut sent = 0;
        for (who, pico, act, share) in steps {
            match act {
                0..=3 => {
                    if let Ok(Answer::Held(claimed)) = world.all[who].claim(&purse, usd(pico), world.now) {
                        flying.push((who, usd(pico), claimed));
                    }
                }
                4..=5 if !flying.is_empty() => {
                    let which = who % flying.len();
                    let (who, reserved, claimed) = flying.swap_remove(which);
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of it")]
                    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
                    let taken = (reserved.pico_usd as f64 * share) as u64;
                    if world.all[who].settle(&purse, &claimed, reserved, usd(taken)).is_ok() {
                        sent += taken;
                    } else {
                        flying.push((who, reserved, claimed));
                    }
                }
                // Lost: all have seen a moment before how it stood, and all notice.
                6 if !world.is_cut.load(Ordering::Relaxed) => {
                    // Since it was back for the last time all have told what they took.
                    world.now += ALL_HAVE_TOLD;
                    for process in &world.all {
                        process.make_up(world.now).unwrap();
                    }
                    for process in &world.all {
                        process.read(&purse[0]).unwrap();
                    }
                    world.cut(true);
                    for process in &world.all {
                        prop_assert!(process.heard(process.store().read(&purse[0])).is_err());
                    }
                }
                // Back: they find it again one by one, within less than the time that each waits, and ask for more at once.
                7 if world.is_cut.load(Ordering::Relaxed) => {
                    world.cut(false);
                    for back in 0..3 {
                        world.all[(who + back) % 3].make_up(world.now).unwrap();
                        for early in 0..=back {
                            let early = (who + early) % 3;
                            if let Answer::Held(claimed) = world.all[early].claim(&purse, usd(pico), world.now).unwrap() {
                                flying.push((early, usd(pico), claimed));
                            }
                        }
                        world.now += ALL_HAVE_TOLD / 4.0;
                    }
                }
                7 => world.now += ALL_HAVE_TOLD,
                _ => {}
            }
            let reserved: u64 = flying.iter().map(|(_, held, _)| held.pico_usd).sum();
            prop_assert!(sent + reserved <= 1_000, "{sent} and {reserved}");
        }
    }
}
