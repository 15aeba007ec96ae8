//! What several processes share in one file; here each is a store of its own on it, as each process has one.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ratekeeper::clock::{Clock, ManualClock, Time};
use ratekeeper::error::{Ended, Error};
use ratekeeper::quota::{Amounts, Dimension, Limit, Quota};
use ratekeeper::scope::Path;
use ratekeeper::store::{Decision, LeaseId, MemoryStore, Policy, SqliteStore, Store};
use rusqlite::Connection;

use crate::bucket::keeps_to;
use crate::world::{quota, tokens};

/// A file that is not there yet.
pub(crate) fn new_file() -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let folder = std::env::temp_dir().join(format!("ratekeeper-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}.db", FILES.fetch_add(1, Ordering::Relaxed)))
}

/// A process's store in that file; stores with a manual clock share no connection.
pub(crate) fn store_in(path: &FilePath, clock: &Arc<ManualClock>) -> SqliteStore {
    store_with(path, Policy::Share, clock)
}

pub(crate) fn store_with(path: &FilePath, policy: Policy, clock: &Arc<ManualClock>) -> SqliteStore {
    SqliteStore::open(path, Duration::from_secs(10), policy, Some(clock.clone() as Arc<dyn Clock>)).unwrap()
}

fn two_processes() -> ([SqliteStore; 2], Arc<ManualClock>) {
    let (path, clock) = (new_file(), Arc::new(ManualClock::default()));
    ([store_in(&path, &clock), store_in(&path, &clock)], clock)
}

fn granted(store: &SqliteStore, path: &Path, amount: u64) -> LeaseId {
    match store.reserve(path, &tokens(amount)).unwrap() {
        Decision::Granted(lease) => lease,
        other => panic!("expected a grant, got {other:?}"),
    }
}

fn waits(store: &SqliteStore, path: &Path, amount: u64) -> bool {
    match store.reserve(path, &tokens(amount)).unwrap() {
        Decision::Wait(blocked) => store.wait(&blocked, &tokens(amount)).is_ok(),
        _ => false,
    }
}

#[test]
fn two_processes_have_one_quota() {
    let ([one, other], _) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 100, 0)).unwrap()));
    granted(&one, &paths[0], 60);
    assert!(matches!(other.reserve(&paths[1], &tokens(60)), Ok(Decision::Wait(_))));
    granted(&one, &paths[0], 40);
    assert_eq!(other.status(paths[1].scopes()[0]).unwrap().limits[0].remaining, 0);
}

#[test]
fn a_permit_that_another_process_gives_back_is_free_here() {
    let ([one, other], _) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 0, 1)).unwrap()));
    let held = granted(&one, &paths[0], 1);
    assert!(waits(&other, &paths[1], 1));
    one.settle(held, &tokens(1)).unwrap();
    granted(&other, &paths[1], 1);
}

#[test]
fn what_a_silent_process_holds_comes_back_and_its_leases_are_over() {
    let ([one, other], clock) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 100, 1)).unwrap()));
    let lost = granted(&one, &paths[0], 30);
    clock.advance(Duration::from_secs(9));
    assert!(waits(&other, &paths[1], 1));
    clock.advance(Duration::from_secs(1));
    granted(&other, &paths[1], 1);
    assert_eq!(one.settle(lost, &tokens(1)), Err(Error::LeaseEnded(Ended::Expired)));
    let status = other.status(paths[1].scopes()[0]).unwrap();
    assert_eq!((status.in_flight, status.limits[0].remaining), (1, 100 - 30 + 16 - 1));
}

#[test]
fn a_process_that_ends_gives_back_at_once_what_it_holds() {
    let ([one, other], _) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 0, 2)).unwrap()));
    granted(&one, &paths[0], 1);
    granted(&one, &paths[0], 1);
    assert!(waits(&other, &paths[1], 1));
    drop(one);
    granted(&other, &paths[1], 1);
}

#[test]
fn processes_that_wait_have_their_turns_and_nobody_passes_a_large_call() {
    let ([one, other], clock) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 600, 0)).unwrap()));
    granted(&one, &paths[0], 600);
    assert!(waits(&one, &paths[0], 300));
    assert!(waits(&other, &paths[1], 10));
    for _ in 0..299 {
        clock.advance(Duration::from_millis(100));
        assert!(waits(&one, &paths[0], 300) && waits(&other, &paths[1], 10));
    }
    clock.advance(Duration::from_millis(100));
    assert!(waits(&other, &paths[1], 10), "the large call comes first");
    granted(&one, &paths[0], 300);
    clock.advance(Duration::from_millis(10));
    assert!(waits(&one, &paths[0], 1), "now it is the other's turn");
    clock.advance(Duration::from_millis(700));
    assert!(waits(&other, &paths[1], 10) && waits(&one, &paths[0], 1));
    clock.advance(Duration::from_millis(300));
    granted(&other, &paths[1], 10);
}

#[test]
fn the_place_of_a_process_that_asks_no_more_lapses_or_is_left() {
    let ([one, other], clock) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(0, 600, 0)).unwrap()));
    granted(&one, &paths[0], 600);
    assert!(waits(&one, &paths[0], 600));
    clock.advance(Duration::from_secs(1));
    granted(&other, &paths[1], 10);
    assert!(waits(&one, &paths[0], 600));
    clock.advance(Duration::from_millis(500));
    assert!(waits(&other, &paths[1], 1));
    one.leave();
    granted(&other, &paths[1], 1);
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
    let ([one, other], _) = two_processes();
    let paths = [&one, &other].map(|store| Path::of(store.configure("a", &quota(10, 0, 0)).unwrap()));
    granted(&one, &paths[0], 1);
    other.configure("a", &quota(20, 0, 0)).unwrap();
    let limit = one.status(paths[0].scopes()[0]).unwrap().limits.remove(0);
    assert_eq!((limit.limit.amount(), limit.remaining), (20, 19));
    one.configure("a", &quota(20, 0, 0)).unwrap();
    assert_eq!(one.status(paths[0].scopes()[0]).unwrap().limits[0], limit);
}

#[test]
fn what_is_used_outlives_all_processes() {
    let (file, clock) = (new_file(), Arc::new(ManualClock::default()));
    let remaining = |amount| {
        let store = store_in(&file, &clock);
        let path = Path::of(store.configure("a", &quota(0, 100, 4)).unwrap());
        granted(&store, &path, amount);
        let status = store.status(path.scopes()[0]).unwrap();
        (status.limits[0].remaining, status.in_flight)
    };
    assert_eq!([remaining(10), remaining(20), remaining(30)], [(90, 1), (70, 1), (40, 1)]);
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

/// The same steps on memory and on a file, with numbers that follow from a seed.
#[test]
fn a_file_decides_as_memory_does() {
    let (file, clock) = (new_file(), Arc::new(ManualClock::default()));
    let memory = MemoryStore::new(clock.clone(), Duration::from_secs(10));
    let stores: [&dyn Store; 2] = [&memory, &store_in(&file, &clock)];
    let quotas: [Quota; 2] = [quota(500, 9_000, 6), quota(300, 0, 0)];
    let paths = stores.map(|store| {
        let outer = Path::of(store.configure("outer", &quotas[0]).unwrap());
        outer.with(store.configure("inner", &quotas[1]).unwrap()).unwrap()
    });
    let mut held: Vec<[LeaseId; 2]> = Vec::new();
    let mut seed = 1u64;
    for _ in 0..40_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (dice, amounts) = (seed >> 33, tokens((seed >> 40) % 300));
        clock.advance(Duration::from_micros(dice % 100_000));
        if dice % 3 > 0 || held.is_empty() {
            match [0, 1].map(|i| stores[i].reserve(&paths[i], &amounts).unwrap()) {
                [Decision::Granted(one), Decision::Granted(other)] => held.push([one, other]),
                [Decision::Wait(one), Decision::Wait(other)] => {
                    assert_eq!((one.dimension, one.ready_at), (other.dimension, other.ready_at));
                }
                other => panic!("they differ: {other:?}"),
            }
        } else {
            let leases = held.swap_remove(usize::try_from(dice).unwrap() % held.len());
            let [one, other] = [0, 1].map(|i| stores[i].settle(leases[i], &amounts));
            assert_eq!(one, other);
        }
        let [one, other] = [0, 1].map(|i| stores[i].status(paths[i].scopes()[0]).unwrap());
        assert_eq!(one, other);
    }
}

#[test]
fn six_processes_that_come_wait_and_die_never_have_more_than_one_quota() {
    let limit = Limit::new(Dimension::Tokens, 900, Duration::from_secs(10), Some(600)).unwrap();
    for seed in 1..=40 {
        let charges = six_processes(seed, limit);
        assert!(charges.len() > 50 && keeps_to(&limit, &charges), "seed {seed}");
    }
}

/// What was granted to six processes that ask, settle, wait and are killed as numbers from a seed have it.
fn six_processes(seed: u64, limit: Limit) -> Vec<(Time, u64)> {
    let (file, clock) = (new_file(), Arc::new(ManualClock::default()));
    let quota = Quota::new(vec![limit], Some(4)).unwrap();
    let start = || {
        let store = store_in(&file, &clock);
        store.configure("a", &quota).unwrap();
        store
    };
    let mut processes: Vec<(SqliteStore, Vec<(LeaseId, Amounts)>)> =
        (0..6).map(|_| (start(), Vec::new())).collect();
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
                match store.reserve(&path, &amounts).unwrap() {
                    Decision::Granted(lease) => {
                        charges.push((clock.now(), amounts.tokens));
                        held.push((lease, amounts));
                    }
                    Decision::Wait(blocked) => store.wait(&blocked, &amounts).unwrap(),
                    Decision::Never(misfit) => panic!("{misfit}"),
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
            _ => clock.advance(Duration::from_millis(roll(700))),
        }
        assert!(store.status(path.scopes()[0]).unwrap().in_flight <= 4);
    }
    charges
}
