//! The contract of every store: each method one atomic step. New stores join the list of `stores`.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ratekeeper::error::{Ended, Error, Result};
use ratekeeper::quota::{Amounts, Dimension};
use ratekeeper::scope::{MAX_DEPTH, Path};
use ratekeeper::store::{Decision, LeaseId, Store};

use crate::stores::Common;
use crate::world::{quota, tokens};

const LEASE_TTL: Duration = Duration::from_secs(10);

/// A store of each kind, in a state of its own.
fn stores() -> Vec<(Arc<dyn Store>, Common)> {
    let states = [Common::in_memory(), Common::in_file(), Common::on_server()];
    states.into_iter().map(|state| (state.process(LEASE_TTL), state)).collect()
}

fn granted(decision: Result<Decision>) -> LeaseId {
    match decision.unwrap() {
        Decision::Granted(lease) => lease,
        other => panic!("expected a grant, got {other:?}"),
    }
}

#[test]
fn a_refusal_changes_nothing() {
    for (store, _) in &stores() {
        let path = Path::of(store.configure("a", &quota(10, 100, 0)).unwrap());
        granted(store.reserve(&path, &tokens(60)));
        let before = store.status(path.scopes()[0]).unwrap();
        assert!(matches!(store.reserve(&path, &tokens(60)), Ok(Decision::Wait(_))));
        assert!(matches!(store.reserve(&path, &tokens(600)), Ok(Decision::Never(_))));
        assert_eq!(store.status(path.scopes()[0]).unwrap(), before);
    }
}

#[test]
fn the_last_dimension_to_have_room_is_named() {
    for (store, _) in &stores() {
        let path = Path::of(store.configure("a", &quota(60, 60, 0)).unwrap());
        granted(store.reserve(&path, &Amounts { requests: 60, ..tokens(30) }));
        match store.reserve(&path, &tokens(40)).unwrap() {
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
    for (store, _) in &stores() {
        let path = Path::of(store.configure("a", &quota(10, 100, 0)).unwrap());
        let lease = granted(store.reserve(&path, &tokens(100)));
        store.settle(lease, &tokens(500)).unwrap();
        granted(store.reserve(&path, &tokens(0)));
    }
}

#[test]
fn an_expired_lease_is_over_and_its_amounts_stay_charged() {
    for (store, Common { clock, .. }) in &stores() {
        let path = Path::of(store.configure("a", &quota(0, 100, 1)).unwrap());
        let silent = granted(store.reserve(&path, &tokens(60)));
        clock.advance(Duration::from_secs(10));
        let next = granted(store.reserve(&path, &tokens(10)));
        assert_eq!(store.settle(silent, &tokens(0)), Err(Error::LeaseEnded(Ended::Expired)));
        assert_eq!(store.renew(silent), Err(Error::LeaseEnded(Ended::Expired)));
        assert_eq!(store.status(path.scopes()[0]).unwrap().limits[0].remaining, 100 - 60 + 16 - 10);
        store.settle(next, &tokens(10)).unwrap();
        assert_eq!(store.settle(next, &tokens(10)), Err(Error::LeaseEnded(Ended::Over)));
    }
}

#[test]
fn a_lease_whose_permit_nobody_wanted_can_be_settled_late() {
    for (store, Common { clock, .. }) in &stores() {
        let path = Path::of(store.configure("a", &quota(0, 100, 1)).unwrap());
        let late = granted(store.reserve(&path, &tokens(60)));
        clock.advance(Duration::from_mins(1));
        store.settle(late, &tokens(60)).unwrap();
        assert_eq!(store.status(path.scopes()[0]).unwrap().in_flight, 0);
    }
}

#[test]
fn a_smaller_number_of_permits_takes_none_away_from_their_holders() {
    for (store, _) in &stores() {
        let path = Path::of(store.configure("a", &quota(0, 0, 2)).unwrap());
        let held = [granted(store.reserve(&path, &tokens(1))), granted(store.reserve(&path, &tokens(1)))];
        store.configure("a", &quota(0, 0, 1)).unwrap();
        store.settle(held[0], &tokens(1)).unwrap();
        assert!(matches!(store.reserve(&path, &tokens(1)), Ok(Decision::Wait(_))));
        store.settle(held[1], &tokens(1)).unwrap();
        granted(store.reserve(&path, &tokens(1)));
    }
}

#[test]
fn idle_caps_are_forgotten_and_those_in_use_are_kept() {
    for (store, Common { clock, .. }) in &stores() {
        let one_a_minute = quota(1, 0, 0);
        let held = store.cap("held", &quota(0, 0, 1), &HashSet::new).unwrap();
        let lease = granted(store.reserve(&Path::of(held), &tokens(1)));
        let awaited = store.cap("awaited", &one_a_minute, &HashSet::new).unwrap();
        let used = store.cap("used", &one_a_minute, &HashSet::new).unwrap();
        clock.advance(Duration::from_mins(1));
        store.renew(lease).unwrap();
        granted(store.reserve(&Path::of(used), &tokens(1)));
        for tenant in 0..1024 {
            // A store that is a round trip away keeps caps for half a minute beyond their last use.
            if tenant == 1000 {
                clock.advance(Duration::from_secs(31));
                store.renew(lease).unwrap();
            }
            let id = store.cap(&tenant.to_string(), &one_a_minute, &|| [awaited].into()).unwrap();
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
    for (store, _) in &stores() {
        let searches = Cell::new(0);
        for tenant in 0..2_000 {
            store
                .cap(&tenant.to_string(), &quota(1, 0, 0), &|| {
                    searches.set(searches.get() + 1);
                    HashSet::new()
                })
                .unwrap();
        }
        assert_eq!(searches.get(), 1);
    }
}

#[test]
fn a_path_has_a_greatest_depth() {
    let (store, _) = &stores()[0];
    let mut path = Path::of(store.configure("0", &quota(1, 0, 0)).unwrap());
    for depth in 1..MAX_DEPTH {
        path = path.with(store.configure(&depth.to_string(), &quota(1, 0, 0)).unwrap()).unwrap();
    }
    assert_eq!(path.with(store.configure("one more", &quota(1, 0, 0)).unwrap()), None);
}
