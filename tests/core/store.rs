//! The contract of every store: each method one atomic step. New stores join the list of `stores`.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ratekeeper::clock::ManualClock;
use ratekeeper::error::Ended;
use ratekeeper::quota::{Amounts, Dimension};
use ratekeeper::scope::{MAX_DEPTH, Path};
use ratekeeper::store::{Decision, LeaseId, MemoryStore, Store};

use crate::world::{quota, tokens};

fn stores() -> Vec<(Arc<dyn Store>, Arc<ManualClock>)> {
    let clock = Arc::new(ManualClock::default());
    vec![(Arc::new(MemoryStore::new(clock.clone(), Duration::from_secs(10))), clock)]
}

fn granted(decision: Decision) -> LeaseId {
    match decision {
        Decision::Granted(lease) => lease,
        other => panic!("expected a grant, got {other:?}"),
    }
}

#[test]
fn a_refusal_changes_nothing() {
    for (store, _) in stores() {
        let path = Path::of(store.configure("a", &quota(10, 100, 0)));
        granted(store.reserve(&path, &tokens(60)));
        let before = store.status(path.scopes()[0]);
        assert!(matches!(store.reserve(&path, &tokens(60)), Decision::Wait(_)));
        assert!(matches!(store.reserve(&path, &tokens(600)), Decision::Never(_)));
        assert_eq!(store.status(path.scopes()[0]), before);
    }
}

#[test]
fn the_last_dimension_to_have_room_is_named() {
    for (store, _) in stores() {
        let path = Path::of(store.configure("a", &quota(60, 60, 0)));
        granted(store.reserve(&path, &Amounts { requests: 60, ..tokens(30) }));
        match store.reserve(&path, &tokens(40)) {
            Decision::Wait(blocked) => {
                assert_eq!(blocked.dimension, Dimension::Tokens);
                assert_eq!(blocked.ready_at, Some(store.now() + Duration::from_secs(10)));
            }
            other => panic!("expected to wait, got {other:?}"),
        }
    }
}

#[test]
fn a_dimension_that_is_not_asked_for_is_not_waited_for() {
    for (store, _) in stores() {
        let path = Path::of(store.configure("a", &quota(10, 100, 0)));
        let lease = granted(store.reserve(&path, &tokens(100)));
        store.settle(lease, &tokens(500)).unwrap();
        granted(store.reserve(&path, &tokens(0)));
    }
}

#[test]
fn an_expired_lease_is_over_and_its_amounts_stay_charged() {
    for (store, clock) in stores() {
        let path = Path::of(store.configure("a", &quota(0, 100, 1)));
        let silent = granted(store.reserve(&path, &tokens(60)));
        clock.advance(Duration::from_secs(10));
        let next = granted(store.reserve(&path, &tokens(10)));
        assert_eq!(store.settle(silent, &tokens(0)), Err(Ended::Expired));
        assert_eq!(store.renew(silent), Err(Ended::Expired));
        assert_eq!(store.status(path.scopes()[0]).limits[0].remaining, 100 - 60 + 16 - 10);
        store.settle(next, &tokens(10)).unwrap();
        assert_eq!(store.settle(next, &tokens(10)), Err(Ended::Over));
    }
}

#[test]
fn a_lease_whose_permit_nobody_wanted_can_be_settled_late() {
    for (store, clock) in stores() {
        let path = Path::of(store.configure("a", &quota(0, 100, 1)));
        let late = granted(store.reserve(&path, &tokens(60)));
        clock.advance(Duration::from_mins(1));
        store.settle(late, &tokens(60)).unwrap();
        assert_eq!(store.status(path.scopes()[0]).in_flight, 0);
    }
}

#[test]
fn a_smaller_number_of_permits_takes_none_away_from_their_holders() {
    for (store, _) in stores() {
        let path = Path::of(store.configure("a", &quota(0, 0, 2)));
        let held = [granted(store.reserve(&path, &tokens(1))), granted(store.reserve(&path, &tokens(1)))];
        store.configure("a", &quota(0, 0, 1));
        store.settle(held[0], &tokens(1)).unwrap();
        assert!(matches!(store.reserve(&path, &tokens(1)), Decision::Wait(_)));
        store.settle(held[1], &tokens(1)).unwrap();
        granted(store.reserve(&path, &tokens(1)));
    }
}

#[test]
fn idle_caps_are_forgotten_and_those_in_use_are_kept() {
    for (store, clock) in stores() {
        let one_a_minute = quota(1, 0, 0);
        let held = store.cap("held", &quota(0, 0, 1), &HashSet::new);
        let lease = granted(store.reserve(&Path::of(held), &tokens(1)));
        let awaited = store.cap("awaited", &one_a_minute, &HashSet::new);
        let used = store.cap("used", &one_a_minute, &HashSet::new);
        clock.advance(Duration::from_mins(1));
        granted(store.reserve(&Path::of(used), &tokens(1)));
        for tenant in 0..1024 {
            let id = store.cap(&tenant.to_string(), &one_a_minute, &|| [awaited].into());
            assert_eq!(store.known(&tenant.to_string()), Some(id));
        }
        assert_eq!(store.known("0"), None);
        assert_eq!(
            [store.known("held"), store.known("awaited"), store.known("used")],
            [Some(held), Some(awaited), Some(used)]
        );
        store.settle(lease, &tokens(1)).unwrap();
    }
}

#[test]
fn who_waits_is_asked_for_once_a_search_for_idle_caps() {
    for (store, _) in stores() {
        let searches = Cell::new(0);
        for tenant in 0..2_000 {
            store.cap(&tenant.to_string(), &quota(1, 0, 0), &|| {
                searches.set(searches.get() + 1);
                HashSet::new()
            });
        }
        assert_eq!(searches.get(), 1);
    }
}

#[test]
fn a_path_has_a_greatest_depth() {
    let (store, _) = stores().remove(0);
    let mut path = Path::of(store.configure("0", &quota(1, 0, 0)));
    for depth in 1..MAX_DEPTH {
        path = path.with(store.configure(&depth.to_string(), &quota(1, 0, 0))).unwrap();
    }
    assert_eq!(path.with(store.configure("one more", &quota(1, 0, 0))), None);
}
