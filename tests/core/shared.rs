//! What several processes share in one file or one server; here each is a store of its own on it, as each process has one.
//! A process that ends in peace gives back all at once; for a server that is tested with processes that really end.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use ratekeeper::clock::{Clock, ManualClock, Time};
use ratekeeper::error::{Ended, Error};
use ratekeeper::pace::{Refusal, Setback, Told};
use ratekeeper::quota::{Amounts, Dimension, Limit, Quota};
use ratekeeper::scope::{Cause, Path};
use ratekeeper::store::{Decision, LeaseId, MemoryStore, Policy, Source, SqliteStore, Store};
use rusqlite::Connection;

use crate::bucket::keeps_to;
use crate::stores::{Common, ask, granted, new_file, store_with, tell, waits};
use crate::world::{quota, tokens};

const LEASE_TTL: Duration = Duration::from_secs(10);

/// A process's store in that file; stores with a manual clock share no connection.
fn store_in(path: &FilePath, clock: &Arc<ManualClock>) -> SqliteStore {
    store_with(path, Policy::Share, clock)
}

/// Two processes on a state, and what each calls its path.
type Pair = (Common, [Arc<dyn Store>; 2], [Path; 2]);

/// A pair on each kind of shared state.
fn two_processes(quota: &Quota) -> Vec<Pair> {
    let all = Common::shared().into_iter().map(|common| {
        let stores = [(); 2].map(|()| common.process(LEASE_TTL));
        let paths = stores.each_ref().map(|store| Path::of(store.configure("a", quota).unwrap()));
        (common, stores, paths)
    });
    all.collect()
}

#[test]
fn two_processes_have_one_quota() {
    for (_, [one, other], paths) in &two_processes(&quota(0, 100, 0)) {
        granted(&**one, &paths[0], 60);
        assert!(matches!(other.reserve(&paths[1], &tokens(60)), Ok(Decision::Wait(_))));
        // That it does not wait is told as well.
        tell(&**other);
        granted(&**one, &paths[0], 40);
        assert_eq!(other.status(paths[1].scopes()[0]).unwrap().limits[0].remaining, 0);
    }
}

#[test]
fn a_permit_that_another_process_gives_back_is_free_here() {
    for (_, [one, other], paths) in &two_processes(&quota(0, 0, 1)) {
        let held = granted(&**one, &paths[0], 1);
        assert!(waits(&**other, &paths[1], 1));
        one.settle(held, &tokens(1)).unwrap();
        tell(&**one);
        granted(&**other, &paths[1], 1);
    }
}

#[test]
fn what_a_silent_process_holds_comes_back_and_its_leases_are_over() {
    for (Common { clock, .. }, [one, other], paths) in &two_processes(&quota(0, 100, 1)) {
        let lost = granted(&**one, &paths[0], 30);
        clock.advance(Duration::from_secs(9));
        assert!(waits(&**other, &paths[1], 1));
        clock.advance(Duration::from_secs(1));
        granted(&**other, &paths[1], 1);
        let status = other.status(paths[1].scopes()[0]).unwrap();
        assert_eq!((status.in_flight, status.limits[0].remaining), (1, 100 - 30 + 16 - 1));
        // Far from the server a process learns only with its next question that it was missed.
        tell(&**one);
        assert_eq!(one.settle(lost, &tokens(1)), Err(Error::LeaseEnded(Ended::Expired)));
        assert_eq!(other.status(paths[1].scopes()[0]).unwrap(), status);
    }
}

#[test]
fn a_process_that_ends_gives_back_at_once_what_it_holds() {
    let common = Common::in_file();
    let [one, other] = [(); 2].map(|()| common.process(LEASE_TTL));
    let path = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 0, 2)).unwrap()))[0];
    granted(&*one, &path, 1);
    granted(&*one, &path, 1);
    assert!(waits(&*other, &path, 1));
    drop(one);
    granted(&*other, &path, 1);
}

#[test]
fn processes_that_wait_have_their_turns_and_nobody_passes_a_large_call() {
    for (Common { clock, .. }, [one, other], paths) in &two_processes(&quota(0, 600, 0)) {
        granted(&**one, &paths[0], 600);
        assert!(waits(&**one, &paths[0], 300));
        assert!(waits(&**other, &paths[1], 10));
        for _ in 0..299 {
            clock.advance(Duration::from_millis(100));
            assert!(waits(&**one, &paths[0], 300) && waits(&**other, &paths[1], 10));
        }
        clock.advance(Duration::from_millis(100));
        assert!(waits(&**other, &paths[1], 10), "the large call comes first");
        granted(&**one, &paths[0], 300);
        clock.advance(Duration::from_millis(10));
        assert!(waits(&**one, &paths[0], 1), "now it is the other's turn");
        clock.advance(Duration::from_millis(700));
        assert!(waits(&**other, &paths[1], 10) && waits(&**one, &paths[0], 1));
        clock.advance(Duration::from_millis(300));
        granted(&**other, &paths[1], 10);
    }
}

#[test]
fn the_place_of_a_process_that_asks_no_more_lapses_or_is_left() {
    for (Common { clock, .. }, [one, other], paths) in &two_processes(&quota(0, 600, 0)) {
        granted(&**one, &paths[0], 600);
        assert!(waits(&**one, &paths[0], 600));
        clock.advance(Duration::from_secs(1));
        granted(&**other, &paths[1], 10);
        assert!(waits(&**one, &paths[0], 600));
        clock.advance(Duration::from_millis(500));
        assert!(waits(&**other, &paths[1], 1));
        one.leave();
        tell(&**one);
        granted(&**other, &paths[1], 1);
    }
}

#[test]
fn who_waits_looks_again_soon_and_a_look_writes_nothing() {
    let (file, clock) = (new_file(), Arc::new(ManualClock::default()));
    let store = store_in(&file, &clock);
    let path = Path::of(store.configure("a", &quota(1, 0, 0)).unwrap());
    granted(&store, &path, 1);
    let Decision::Wait(blocked) = store.reserve(&path, &tokens(1)).unwrap() else {
        panic!("there is no room")
    };
    assert_eq!(blocked.ready_at, Some(store.now() + Duration::from_mins(1)));
    assert_eq!(blocked.ask_again_at, store.now() + Duration::from_millis(200));
    store.wait(&blocked, &tokens(1)).unwrap();
    let changes = || -> i64 {
        let reader = Connection::open(&file).unwrap();
        reader.query_row("SELECT sum(length(state)) + max(id) FROM scope", [], |row| row.get(0)).unwrap()
    };
    let (before, written) = (changes(), std::fs::metadata(file.with_extension("db-wal")).unwrap().len());
    for _ in 0..100 {
        assert!(matches!(store.reserve(&path, &tokens(1)), Ok(Decision::Wait(_))));
        store.wait(&blocked, &tokens(1)).unwrap();
    }
    assert_eq!(
        (changes(), std::fs::metadata(file.with_extension("db-wal")).unwrap().len()),
        (before, written)
    );
}

#[test]
fn a_second_worker_with_the_same_quota_changes_nothing_and_one_with_another_has_the_last_word() {
    for (_, [one, other], paths) in &two_processes(&quota(10, 0, 0)) {
        granted(&**one, &paths[0], 1);
        other.configure("a", &quota(20, 0, 0)).unwrap();
        tell(&**other);
        let limit = one.status(paths[0].scopes()[0]).unwrap().limits.remove(0);
        assert_eq!((limit.limit.amount(), limit.remaining), (20, 19));
        one.configure("a", &quota(20, 0, 0)).unwrap();
        assert_eq!(one.status(paths[0].scopes()[0]).unwrap().limits[0], limit);
    }
}

#[test]
fn what_is_used_outlives_all_processes() {
    let a_day = Limit::new(Dimension::Tokens, 100, Duration::from_hours(24), None).unwrap();
    for common in Common::shared() {
        let remaining = |amount| {
            let store = common.process(LEASE_TTL);
            let path = Path::of(store.configure("a", &Quota::new(vec![a_day], Some(4)).unwrap()).unwrap());
            granted(&*store, &path, amount);
            let status = store.status(path.scopes()[0]).unwrap();
            // What was not given back comes back when the process is missed.
            common.clock.advance(Duration::from_secs(10));
            (status.limits[0].remaining, status.in_flight)
        };
        assert_eq!([remaining(10), remaining(20), remaining(30)], [(90, 1), (70, 1), (40, 1)]);
    }
}

#[test]
fn who_waits_for_a_server_looks_again_after_half_a_second_though_nobody_rings() {
    let common = Common::on_server();
    let store = common.process(LEASE_TTL);
    let path = Path::of(store.configure("a", &quota(1, 0, 0)).unwrap());
    granted(&*store, &path, 1);
    let Decision::Wait(blocked) = ask(&*store, &path, &tokens(1)).unwrap() else {
        panic!("there is no room")
    };
    assert_eq!(blocked.ready_at, Some(store.now() + Duration::from_mins(1)));
    assert_eq!(blocked.ask_again_at, store.now() + Duration::from_millis(500));
}

#[test]
fn what_one_process_learns_holds_for_the_other() {
    for (_, [one, other], paths) in &two_processes(&quota(100, 0, 0)) {
        let lease = granted(&**one, &paths[0], 1);
        let told = Told {
            dimension: Dimension::Requests,
            period: Some(Duration::from_mins(1)),
            limit: Some(50),
            remaining: Some(10),
            rounded_to: 1,
        };
        assert_eq!(one.learn(lease, &[told]), Ok(true));
        tell(&**one);
        let limit = other.status(paths[1].scopes()[0]).unwrap().limits.remove(0);
        assert_eq!((limit.limit.amount(), limit.remaining, limit.source), (50, 10, Source::Learned));
        assert_eq!(one.status(paths[0].scopes()[0]).unwrap().limits[0], limit);
    }
}

#[test]
fn a_refusal_that_one_process_meets_pauses_the_other() {
    for (Common { clock, .. }, [one, other], paths) in &two_processes(&quota(100, 0, 0)) {
        let lease = granted(&**one, &paths[0], 1);
        let refusal = Refusal {
            dimension: None,
            period: None,
            retry_after: Some(Duration::from_secs(5)),
            patience: Duration::from_mins(2),
            random: 0.0,
        };
        one.fail(lease, &Amounts::default(), &Setback::Refused(refusal)).unwrap();
        tell(&**one);
        let Decision::Wait(paused) = ask(&**other, &paths[1], &tokens(1)).unwrap() else {
            panic!("there is a pause")
        };
        assert_eq!(paused.cause, Cause::Pause);
        let pause = other.status(paths[1].scopes()[0]).unwrap().paused_until.unwrap().since(other.now());
        assert!((5..=6).contains(&pause.as_secs()), "{pause:?}");
        clock.advance(Duration::from_secs(30));
        granted(&**other, &paths[1], 1);
    }
}

/// What is said of a file that cannot be a store.
fn refused(path: &FilePath) -> String {
    match SqliteStore::open(path, Duration::from_secs(10), Policy::Share, None) {
        Err(Error::Store { what, .. }) => what,
        other => panic!("expected a refusal, got {:?}", other.map(drop)),
    }
}

#[test]
fn what_is_no_store_is_refused_in_words() {
    let file = new_file();
    assert!(refused(&file.join("no/such/folder.db")).contains("has to be a folder"));
    std::fs::write(&file, "not a database, but long enough to be read as one".repeat(20)).unwrap();
    assert!(refused(&file).contains("damaged or no SQLite file"));
    let (other, newer) = (new_file(), new_file());
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (id)").unwrap();
    assert!(refused(&other).contains("something else's"));
    drop(store_in(&newer, &Arc::default()));
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(refused(&newer).contains("version 2"));
}

/// The same steps on memory and on what is shared, with numbers that follow from a seed.
#[test]
fn every_store_decides_as_memory_does() {
    decides_as_memory_does(&Common::in_file(), LEASE_TTL, 40_000);
    // Memory takes the permit of a silent holder when somebody wants it, a process far from its server at once; so nobody is silent.
    decides_as_memory_does(&Common::on_server(), Duration::from_hours(24), 4_000);
}

fn decides_as_memory_does(common: &Common, lease_ttl: Duration, steps: u32) {
    let memory = MemoryStore::new(common.clock.clone(), lease_ttl);
    let shared = common.process(lease_ttl);
    let stores: [&dyn Store; 2] = [&memory, &*shared];
    let ahead = shared.now().since(memory.now());
    let quotas: [Quota; 2] = [quota(500, 9_000, 6), quota(300, 0, 0)];
    let paths = stores.map(|store| {
        let outer = Path::of(store.configure("outer", &quotas[0]).unwrap());
        outer.with(store.configure("inner", &quotas[1]).unwrap()).unwrap()
    });
    let mut held: Vec<[LeaseId; 2]> = Vec::new();
    let mut seed = 1u64;
    for _ in 0..steps {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (dice, amounts) = (seed >> 33, tokens((seed >> 40) % 300));
        common.clock.advance(Duration::from_micros(dice % 100_000));
        if dice % 3 > 0 || held.is_empty() {
            match [0, 1].map(|i| stores[i].reserve(&paths[i], &amounts).unwrap()) {
                [Decision::Granted(one), Decision::Granted(other)] => held.push([one, other]),
                [Decision::Wait(one), Decision::Wait(other)] => {
                    let ready_at = one.ready_at.map(|ready_at| ready_at + ahead);
                    assert_eq!((one.dimension, ready_at), (other.dimension, other.ready_at));
                }
                other => panic!("they differ: {other:?}"),
            }
        } else {
            let leases = held.swap_remove(usize::try_from(dice).unwrap() % held.len());
            let [one, other] = [0, 1].map(|i| stores[i].settle(leases[i], &amounts));
            assert_eq!(one, other);
        }
        let [one, other] = [0, 1].map(|i| facts(stores[i], &paths[i]));
        assert_eq!(one, other);
    }
}

/// What a store says of the outermost scope: permits held, what is left of each limit, and in what time it is full.
fn facts(store: &dyn Store, path: &Path) -> (u32, Vec<(i64, Duration)>) {
    let (status, now) = (store.status(path.scopes()[0]).unwrap(), store.now());
    let limits = status.limits.iter().map(|limit| (limit.remaining, limit.full_at.since(now)));
    (status.in_flight, limits.collect())
}

#[test]
fn six_processes_that_come_wait_and_die_never_have_more_than_one_quota() {
    let limit = Limit::new(Dimension::Tokens, 900, Duration::from_secs(10), Some(600)).unwrap();
    for seed in 1..=40 {
        for common in Common::shared() {
            let charges = six_processes(&common, seed, limit);
            assert!(charges.len() > 50 && keeps_to(&limit, &charges), "seed {seed}");
        }
    }
}

/// A process and what it holds.
type Process = (Arc<dyn Store>, Vec<(LeaseId, Amounts)>);

/// What was granted to six processes that ask, settle, wait and are killed as numbers from a seed have it.
fn six_processes(common: &Common, seed: u64, limit: Limit) -> Vec<(Time, u64)> {
    let quota = Quota::new(vec![limit], Some(4)).unwrap();
    let start = || {
        let store = common.process(LEASE_TTL);
        store.configure("a", &quota).unwrap();
        store
    };
    let mut processes: Vec<Process> = (0..6).map(|_| (start(), Vec::new())).collect();
    let (mut dice, mut charges) = (seed | 1, Vec::new());
    let mut roll = |most: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % most
    };
    for _ in 0..600 {
        let which = usize::try_from(roll(6)).unwrap();
        let (store, held) = &mut processes[which];
        let path = Path::of(store.known("a").unwrap());
        match roll(12) {
            0..=5 => {
                let amounts = tokens(1 + roll(300));
                if let Decision::Granted(lease) = ask(&**store, &path, &amounts).unwrap() {
                    charges.push((common.clock.now(), amounts.tokens));
                    held.push((lease, amounts));
                }
            }
            6..=9 if !held.is_empty() => {
                let (lease, amounts) = held.remove(0);
                match store.settle(lease, &amounts) {
                    Ok(()) | Err(Error::LeaseEnded(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            // Killed: nobody gives back what it holds. The store is forgotten without being closed.
            10 if roll(10) == 0 => {
                std::mem::forget(std::mem::replace(store, start()));
                held.clear();
            }
            _ => common.clock.advance(Duration::from_millis(roll(700))),
        }
        assert!(store.status(path.scopes()[0]).unwrap().in_flight <= 4);
    }
    charges
}
