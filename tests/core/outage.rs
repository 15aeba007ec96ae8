//! A file that is lost while processes use it, and found again; each process is a store of its own on it, in virtual time.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratekeeper::clock::{Clock, ManualClock, SystemClock};
use ratekeeper::error::{Ended, Error};
use ratekeeper::scope::Path;
use ratekeeper::store::{Condition, Decision, LeaseId, Policy, SqliteStore, Store};
use rusqlite::Connection;

use crate::stores::{new_file, store_with};
use crate::world::{quota, tokens};

/// Processes that use one file.
struct Host {
    file: PathBuf,
    clock: Arc<ManualClock>,
    stores: Vec<SqliteStore>,
    path: Path,
}

impl Host {
    fn new(processes: usize, policy: Policy, tpm: u64, permits: u32) -> Self {
        let (file, clock) = (new_file(), Arc::new(ManualClock::default()));
        let open = || {
            let store = store_with(&file, policy, &clock);
            let path = Path::of(store.configure("a", &quota(0, tpm, permits)).unwrap());
            (store, path)
        };
        let (stores, paths): (Vec<_>, Vec<_>) = (0..processes).map(|_| open()).unzip();
        let host = Self { file, clock, stores, path: paths[0] };
        // All have said that they are there, and seen how many they are.
        host.pass(3.0);
        host.look();
        host
    }

    fn pass(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    fn look(&self) {
        for store in &self.stores {
            store.status(self.path.scopes()[0]).unwrap();
        }
    }

    fn ask(&self, which: usize, amount: u64) -> Option<LeaseId> {
        match self.stores[which].reserve(&self.path, &tokens(amount)).unwrap() {
            Decision::Granted(lease) => Some(lease),
            _ => None,
        }
    }

    fn condition(&self, which: usize) -> Condition {
        self.stores[which].condition().unwrap()
    }

    fn remaining(&self, which: usize) -> i64 {
        self.stores[which].status(self.path.scopes()[0]).unwrap().limits[0].remaining
    }

    /// Moves the file away; everybody notices when it says next that it is there.
    fn lose(&self) {
        move_file(&self.file, &away(&self.file));
        self.pass(2.5);
        self.look();
        assert!((0..self.stores.len()).all(|which| self.condition(which).is_lost));
    }

    fn find(&self) {
        move_file(&away(&self.file), &self.file);
        self.pass(1.0);
        self.look();
        assert!((0..self.stores.len()).all(|which| !self.condition(which).is_lost));
    }
}

fn away(file: &FilePath) -> PathBuf {
    file.with_extension("away")
}

fn beside(file: &FilePath, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", file.display()))
}

fn move_file(from: &FilePath, to: &FilePath) {
    for suffix in ["", "-wal", "-shm"].iter().filter(|suffix| beside(from, suffix).exists()) {
        std::fs::rename(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

#[test]
fn each_process_goes_on_with_its_share_and_the_file_is_told_later() {
    let host = Host::new(3, Policy::Share, 600, 0);
    host.lose();
    assert_eq!((0..3).map(|which| host.remaining(which)).collect::<Vec<_>>(), [200, 200, 200]);
    assert!(host.ask(0, 150).is_some() && host.ask(0, 60).is_none() && host.ask(1, 200).is_some());
    let condition = host.condition(0);
    assert_eq!((condition.processes, condition.losses, condition.decided_alone), (3, 1, 1));
    host.find();
    assert!((255..=260).contains(&host.remaining(2)), "{}", host.remaining(2));
    host.pass(3.0);
    assert!(host.ask(2, 270).is_some(), "all of it again");
}

#[test]
fn leases_outlive_a_loss_and_end_once() {
    let host = Host::new(2, Policy::Share, 6_000, 4);
    let [before, kept] = [host.ask(0, 10).unwrap(), host.ask(0, 10).unwrap()];
    host.lose();
    assert!(host.ask(0, 10).is_none(), "it holds its share of the permits");
    let during = host.ask(1, 10).unwrap();
    host.stores[0].settle(before, &tokens(10)).unwrap();
    assert_eq!(host.stores[0].settle(before, &tokens(10)), Err(Error::LeaseEnded(Ended::Over)));
    // Longer than a process is believed to be there.
    host.pass(15.0);
    host.find();
    let status = host.stores[1].status(host.path.scopes()[0]).unwrap();
    assert_eq!(status.in_flight, 2);
    host.stores[0].settle(kept, &tokens(10)).unwrap();
    host.stores[1].settle(during, &tokens(10)).unwrap();
    assert_eq!(host.stores[0].status(host.path.scopes()[0]).unwrap().in_flight, 0);
}

#[test]
fn what_a_process_of_two_limiters_holds_is_told_by_both() {
    let (file, clock) = (new_file(), Arc::new(ManualClock::default()));
    let stores = [(); 2].map(|()| store_with(&file, Policy::Share, &clock));
    let paths = stores.each_ref().map(|store| Path::of(store.configure("a", &quota(0, 0, 9)).unwrap()));
    let [one, _] = [0, 1].map(|i| stores[i].reserve(&paths[i], &tokens(1)).unwrap());
    move_file(&file, &away(&file));
    clock.advance(Duration::from_secs(3));
    for i in 0..2 {
        assert!(matches!(stores[i].reserve(&paths[i], &tokens(1)), Ok(Decision::Granted(_))));
    }
    move_file(&away(&file), &file);
    clock.advance(Duration::from_secs(1));
    let in_flight = |i: usize| stores[i].status(paths[i].scopes()[0]).unwrap().in_flight;
    assert_eq!((in_flight(0), in_flight(1)), (3, 4));
    let Decision::Granted(one) = one else { panic!("there was room") };
    stores[0].settle(one, &tokens(1)).unwrap();
    assert_eq!(in_flight(1), 3);
}

#[test]
fn open_grants_everything_and_closed_nothing_but_ends_what_is_held() {
    let open = Host::new(2, Policy::Open, 600, 1);
    open.lose();
    assert!((0..50).all(|_| open.ask(0, 100).is_some()));
    open.find();
    assert_eq!(open.remaining(0), 0);
    let closed = Host::new(2, Policy::Closed, 600, 1);
    let held = closed.ask(0, 100).unwrap();
    closed.lose();
    let refusal = closed.stores[0].reserve(&closed.path, &tokens(1)).unwrap_err();
    assert!(refusal.to_string().contains("removed or replaced"), "{refusal}");
    closed.stores[0].settle(held, &tokens(100)).unwrap();
    closed.find();
    assert_eq!(closed.stores[1].status(closed.path.scopes()[0]).unwrap().in_flight, 0);
}

#[test]
fn a_new_file_in_its_place_is_told_what_was_last_seen() {
    let host = Host::new(2, Policy::Share, 600, 4);
    assert!(host.ask(0, 300).is_some());
    host.look();
    host.lose();
    // Nobody makes a new one in silence.
    host.pass(5.0);
    host.look();
    assert!(!host.file.exists() && host.condition(0).is_lost);
    drop(store_with(&host.file, Policy::Share, &host.clock));
    host.pass(1.0);
    host.look();
    assert!(!host.condition(0).is_lost);
    let remaining = host.remaining(1);
    assert!((300..=300 + 90).contains(&remaining), "{remaining}");
    let status = host.stores[1].status(host.path.scopes()[0]).unwrap();
    assert_eq!(status.in_flight, 1);
}

#[test]
fn a_damaged_row_is_written_anew_as_it_was_last_seen() {
    let host = Host::new(1, Policy::Share, 600, 0);
    assert!(host.ask(0, 100).is_some());
    Connection::open(&host.file).unwrap().execute("UPDATE scope SET state = x'0102'", []).unwrap();
    assert!(host.ask(0, 100).is_some());
    assert!(host.condition(0).is_lost);
    host.pass(1.0);
    host.look();
    assert!(!host.condition(0).is_lost);
    assert_eq!(host.remaining(0), 410);
}

#[test]
fn quotas_and_scopes_that_are_set_meanwhile_hold_here_and_then_for_all() {
    let host = Host::new(2, Policy::Share, 600, 0);
    host.lose();
    host.stores[0].configure("a", &quota(0, 1_200, 0)).unwrap();
    let new = Path::of(host.stores[0].configure("b", &quota(0, 60, 0)).unwrap());
    assert_eq!(host.remaining(0), 600);
    assert!(matches!(host.stores[0].reserve(&new, &tokens(30)), Ok(Decision::Granted(_))));
    assert!(matches!(host.stores[0].reserve(&new, &tokens(30)), Ok(Decision::Wait(_))));
    host.find();
    assert_eq!(host.remaining(1), 1_200);
    let known = host.stores[1].configure("b", &quota(0, 60, 0)).unwrap();
    let remaining = host.stores[1].status(known).unwrap().limits[0].remaining;
    assert!((30..=31).contains(&remaining), "{remaining}");
}

#[test]
fn a_file_that_another_process_does_not_let_go_of_is_lost_after_two_seconds() {
    let host = Host::new(2, Policy::Share, 600, 0);
    let stopped = Connection::open(&host.file).unwrap();
    stopped.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = SystemClock.now();
    assert!(host.ask(0, 100).is_some());
    assert!(SystemClock.now().since(start) < Duration::from_secs(6));
    let start = SystemClock.now();
    for _ in 0..20 {
        host.pass(1.0);
        assert!(host.ask(0, 1).is_some());
    }
    assert!(SystemClock.now().since(start) < Duration::from_secs(2), "a try is short");
    stopped.execute_batch("ROLLBACK").unwrap();
    host.pass(1.0);
    host.look();
    assert!(!host.condition(0).is_lost && host.condition(0).losses == 1);
}
