//! What the server grants keeps to the quota in every window, whatever the clocks and the network do; and what is granted besides while the
//! server is lost is bounded.

use std::time::Duration;

use super::granting::{Granting, excess};
use super::{Event, START, World};
use crate::clock::Time;
use crate::quota::{Amounts, Dimension, Limit, Quota};
use crate::store::Policy;
use crate::store::book::Book;
use crate::store::redis::server::Server;
use crate::store::redis::state::State;
use crate::store::redis::step::Op;
use crate::store::redis::tree::Tree;

/// How many seeds are tried; many more by hand, with this in the environment.
const SEEDS: &str = "RATEKEEPER_SIMULATION_SEEDS";
const SEEDS_BY_DEFAULT: u64 = 3;
/// For how many seconds each; a day by hand.
const SECONDS: &str = "RATEKEEPER_SIMULATION_SECONDS";

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn limit(dimension: Dimension, amount: u64, seconds: u64, burst: u64) -> Limit {
    Limit::new(dimension, amount, Duration::from_secs(seconds), Some(burst)).unwrap()
}

/// Of several dimensions and periods, each of them short at times.
fn quotas(lasts: Duration) -> [Quota; 2] {
    let lasts = lasts.as_secs();
    let a_day = 86_400 * 6_000 * 3 / 4;
    let account = vec![
        limit(Dimension::Requests, 20, 1, 20),
        limit(Dimension::Tokens, 400_000, 60, 20_000),
        limit(Dimension::Tokens, a_day, 86_400, 4_000 * lasts.min(3_600)),
    ];
    let model =
        vec![limit(Dimension::Requests, 600, 60, 60), limit(Dimension::InputTokens, 120_000, 60, 2_000)];
    [Quota::new(account, Some(40)).unwrap(), Quota::new(model, Some(24)).unwrap()]
}

fn run(seed: u64, lasts: Duration, policy: Policy, granting: Granting, losses: &[(u64, u64)]) -> World {
    let mut world = World::new(seed, quotas(lasts), policy, granting);
    for (second, millis) in losses {
        world.at(START + Duration::from_secs(*second), Event::LoseStore(*millis));
    }
    world.run(lasts);
    world
}

/// The server is started anew every few minutes, and loses nothing.
fn restarts(lasts: Duration) -> Vec<(u64, u64)> {
    (1..=lasts.as_secs() / 150).map(|number| (number * 150, 2_000)).collect()
}

fn keeps_to_all(world: &mut World, seed: u64) {
    for (scope, quota) in world.quotas.iter().enumerate() {
        for limit in quota.limits() {
            let beyond = excess(limit, world.granting.charges(scope, limit));
            assert_eq!(beyond, 0, "seed {seed}, scope {scope}: beyond {limit:?}");
        }
        let most = quota.concurrency().unwrap() as usize;
        assert!(world.most_held[scope] <= most, "seed {seed}: {} of {most}", world.most_held[scope]);
    }
    nothing_is_held_after_all_are_dead(world, seed);
}

fn nothing_is_held_after_all_are_dead(world: &mut World, seed: u64) {
    let later = world.now + Duration::from_mins(1);
    for scope in 0..2 {
        let leave = Op::Leave { scopes: vec![0, 1] };
        world.granting.step("newcomer", later, &[leave]);
        let state = world.granting.state(scope);
        let in_flight = state.scope.flow.in_flight();
        assert_eq!((state.scope.permits.held(), in_flight), (0, Amounts::default()), "seed {seed}");
    }
}

/// That the days were no easy ones.
fn was_tried(world: &World) {
    for what in ["granted", "given up", "answer lost", "answer late", "killed"] {
        assert!(world.counts.get(what).is_some_and(|count| *count > 3), "{what}: {:?}", world.counts);
    }
    assert!(world.granting.ended > 100 && world.granting.grants.len() > 200);
}

#[test]
fn fifty_processes_with_wrong_clocks_and_a_bad_network_never_have_more_than_the_quota() {
    let lasts = Duration::from_secs(from_environment(SECONDS, 200));
    for seed in 1..=from_environment(SEEDS, SEEDS_BY_DEFAULT) {
        let mut world = run(seed, lasts, Policy::Closed, Granting::in_rust(), &restarts(lasts));
        keeps_to_all(&mut world, seed);
        was_tried(&world);
    }
}

#[test]
fn on_a_real_server_they_do_not_either() {
    let server = Server::start();
    let lasts = Duration::from_secs(from_environment(SECONDS, 200));
    for seed in 1..=from_environment(SEEDS, SEEDS_BY_DEFAULT).div_ceil(3) {
        let mut world = run(seed, lasts, Policy::Closed, Granting::on(&server), &restarts(lasts));
        keeps_to_all(&mut world, seed);
        was_tried(&world);
    }
}

/// Each process goes on with its share of what it has last seen of the server, which together may be one burst more. What flows in is shared
/// out, and counted twice for no longer than some are back and others are not: here for less than two seconds.
#[test]
fn what_is_granted_besides_while_the_server_is_lost_is_no_more_than_a_burst_and_what_flows_in_within_two_seconds()
 {
    let lasts = Duration::from_secs(200);
    for seed in 1..=from_environment(SEEDS, SEEDS_BY_DEFAULT) {
        let mut world = run(seed, lasts, Policy::Share, Granting::in_rust(), &[(100, 20_000)]);
        assert!(world.alone.len() > 100, "seed {seed}: {:?}", world.counts);
        for (scope, quota) in world.quotas.iter().enumerate() {
            for limit in quota.limits() {
                let beyond = excess(limit, all_charges(&world, scope, limit).into_iter());
                let two_seconds = 2 * limit.amount() / limit.period().as_secs();
                assert!(
                    beyond <= limit.burst() + two_seconds,
                    "seed {seed}, scope {scope}: {beyond} beyond {limit:?}"
                );
            }
        }
        nothing_is_held_after_all_are_dead(&mut world, seed);
    }
}

#[test]
fn a_process_that_reads_what_all_have_agreed_on_has_nothing_to_say_of_it() {
    let [agreed, other] = quotas(Duration::from_mins(5));
    let value = State::new("account".into(), &agreed, false).encode();
    for (quota, is_cold) in [(&agreed, false), (&other, true)] {
        let mut tree = Tree::new(Book::new(Duration::from_mins(10)));
        let account = tree.register("account", quota, false, START);
        assert!(tree.take_over(account, value.clone()));
        assert_eq!(!tree.cold_scopes().is_empty(), is_cold);
    }
}

/// What the server and the processes have granted together.
fn all_charges(world: &World, scope: usize, limit: &Limit) -> Vec<(Time, u64)> {
    let alone = world.alone.iter().filter(|(_, depth, _)| *depth > scope);
    let alone = alone.map(|(at, _, amounts)| (*at, amounts.get(limit.dimension())));
    let mut all: Vec<(Time, u64)> = world.granting.charges(scope, limit).chain(alone).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}
