//! The ledger's file: every entry once, every text as it was, and the answers of the memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use ratekeeper::error::Error;
use ratekeeper::ledger::Ledger;
use ratekeeper::ledger::entry::{Entry, Facts, Outcome, Usage};
use ratekeeper::ledger::file::{Author, File, entries, groups};
use ratekeeper::ledger::query::{Field, Query};
use ratekeeper::ledger::writer::{Pushed, Writer};

/// A file that is gone at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ratekeeper-{}-{number}.db", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm"] {
            let mut name = self.0.clone().into_os_string();
            name.push(ending);
            // Not all of them are always there.
            let _ = std::fs::remove_file(name);
        }
    }
}

const AUTHOR: Author = Author { pid: 1, started: 7 };

fn some(ledger: &Ledger, count: u64) -> Vec<Arc<Entry>> {
    let facts = Facts {
        usage: Some(Usage { counts: [3, 1, 0, 0, 0, 0, 0, 0, 0] }),
        pico_usd: Some(5),
        waited: 1,
        duration: 2,
        outcome: Outcome::Refused,
        attempt: 1,
        estimated: true,
    };
    (0..count)
        .map(|number| ledger.book(number.cast_signed(), ["s", "m", "", ""], &[("a", "b")], facts))
        .collect()
}

#[test]
fn a_batch_that_is_given_again_is_written_once() {
    let (scratch, ledger) = (Scratch::new(), Ledger::new(100, 100));
    let batch = some(&ledger, 10);
    let mut file = File::open(&scratch.0, false).unwrap();
    file.write(&scratch.0, AUTHOR, 1, &batch).unwrap();
    file.write(&scratch.0, AUTHOR, 1, &batch).unwrap();
    file.write(&scratch.0, AUTHOR, 6, &[&batch[5..], &some(&ledger, 3)].concat()).unwrap();
    drop(file);
    let mut again = File::open(&scratch.0, true).unwrap();
    again.write(&scratch.0, AUTHOR, 11, &batch[..4]).unwrap();
    again.write(&scratch.0, Author { started: 8, ..AUTHOR }, 1, &batch[..2]).unwrap();
    assert_eq!(groups(&scratch.0, &Query::default()).unwrap()[0].1.calls, 10 + 3 + 1 + 2);
}

#[test]
fn a_writer_writes_what_it_was_handed_before_it_ends() {
    let (scratch, ledger) = (Scratch::new(), Ledger::new(100, 100));
    let writer = Writer::start(&scratch.0, Duration::from_hours(1), AUTHOR).unwrap();
    for (place, entry) in some(&ledger, 10).iter().enumerate() {
        assert_eq!(writer.push(entry), Pushed::Waiting(place as u64 + 1));
    }
    assert_eq!((writer.health().written, writer.health().waiting), (0, 10));
    assert!(writer.flush());
    writer.push(&some(&ledger, 1)[0]);
    writer.stop();
    assert_eq!((writer.health().written, writer.health().waiting, writer.turns()), (11, 0, 0));
    assert_eq!(groups(&scratch.0, &Query::default()).unwrap(), ledger.groups(&Query::default()));
}

#[test]
fn a_writer_without_a_place_to_write_keeps_what_it_has_and_says_why() {
    let ledger = Ledger::new(100, 100);
    let nowhere = PathBuf::from("/nowhere/at/all.db");
    let writer = Writer::start(&nowhere, Duration::ZERO, AUTHOR).unwrap();
    writer.push(&some(&ledger, 1)[0]);
    assert!(!writer.flush());
    let health = writer.health();
    assert_eq!((health.written, health.waiting, health.turns), (0, 1, 1));
    assert!(health.trouble.unwrap().contains("cannot be opened"));
    writer.stop();
    assert!(matches!(groups(&nowhere, &Query::default()), Err(Error::Store { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_text_comes_back_as_it_was(
        labels in prop::collection::vec((".{0,8}", prop::collection::btree_map(".{0,6}", ".{0,6}", 0..4)), 1..12)
    ) {
        let (scratch, ledger) = (Scratch::new(), Ledger::new(100, 1_000));
        let mut file = File::open(&scratch.0, false).unwrap();
        let mut booked = Vec::new();
        for (model, tags) in &labels {
            let tags: Vec<(&str, &str)> = tags.iter().map(|(name, text)| (&**name, &**text)).collect();
            let facts = some(&Ledger::new(0, 100), 1)[0].facts;
            booked.push(ledger.book(0, ["", model, "", ""], &tags, facts));
        }
        file.write(&scratch.0, AUTHOR, 1, &booked).unwrap();
        let read = entries(&scratch.0, &Query::default(), 100).unwrap();
        prop_assert_eq!(read.len(), booked.len());
        for (read, booked) in read.iter().zip(&booked) {
            prop_assert_eq!(&read.label, &booked.label);
        }
        for column in labels.iter().flat_map(|(_, tags)| tags.keys()) {
            let by = Query { by: vec![Field::named(column)], ..Query::default() };
            prop_assert_eq!(groups(&scratch.0, &by).unwrap(), ledger.groups(&by));
        }
    }
}
