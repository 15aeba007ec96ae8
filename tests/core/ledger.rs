//! The ledger: sums are exact whatever is folded, and what folding hides is told.

use proptest::prelude::*;
use ratekeeper::ledger::Ledger;
use ratekeeper::ledger::entry::{Facts, Label, Outcome, Usage};
use ratekeeper::ledger::query::{Field, Query};
use ratekeeper::ledger::sum::Sum;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn facts(tokens: u64, pico_usd: Option<u64>) -> Facts {
    let mut usage = Usage::default();
    usage.counts[0] = tokens;
    Facts {
        usage: Some(usage),
        pico_usd,
        waited: 7,
        duration: 11,
        outcome: Outcome::Answered,
        attempt: 1,
        estimated: false,
    }
}

fn one(ledger: &Ledger, query: &Query) -> Sum {
    let groups = ledger.groups(query);
    assert!(groups.len() <= 1, "without columns there is one group");
    groups.into_iter().next().map(|(_, sum)| sum).unwrap_or_default()
}

fn of(column: &str, text: &str) -> Query {
    Query { wanted: vec![(Field::named(column), text.into())], ..Query::default() }
}

#[derive(Clone, Debug)]
struct Booked {
    at: i64,
    model: String,
    tags: Vec<(String, String)>,
    facts: Facts,
}

fn booked() -> impl Strategy<Value = Booked> {
    let tags = (0..400_u32, 0..4_u32, any::<bool>(), 0..20_u32).prop_map(|(job, agent, has_agent, name)| {
        let mut tags = vec![("job".to_owned(), format!("{job}"))];
        if has_agent {
            tags.push(("agent".to_owned(), format!("{agent}")));
        }
        if name == 0 {
            tags.push((format!("x{job}"), "1".to_owned()));
        }
        tags.sort();
        tags
    });
    (0..6 * DAY, 0..3_u8, tags, 0..1_000_u64, proptest::option::of(0..1_000_000_u64)).prop_map(
        |(at, model, tags, tokens, pico)| Booked {
            at: at - DAY,
            model: format!("m{model}"),
            tags,
            facts: facts(tokens, pico),
        },
    )
}

fn book(ledger: &Ledger, entry: &Booked) {
    let tags: Vec<(&str, &str)> = entry.tags.iter().map(|(name, text)| (&**name, &**text)).collect();
    ledger.book(entry.at, ["s", &entry.model, "", ""], &tags, entry.facts);
}

fn expected(entries: &[Booked], is_meant: impl Fn(&Booked) -> bool) -> Sum {
    let mut sum = Sum::default();
    for entry in entries.iter().filter(|entry| is_meant(entry)) {
        sum.book(&entry.facts);
    }
    sum
}

fn has(entry: &Booked, name: &str, text: &str) -> bool {
    entry.tags.iter().any(|(known, value)| known == name && value == text)
}

type IsMeant = fn(&Booked) -> bool;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sums_are_exact_and_what_is_folded_is_told(
        entries in prop::collection::vec(booked(), 1..1_500),
        cells in 100..1_500_usize,
        ring in 0..300_usize,
        since in -DAY..5 * DAY,
        length in 0..3 * DAY,
    ) {
        let ledger = Ledger::new(ring, cells);
        for entry in &entries {
            book(&ledger, entry);
        }
        prop_assert!(ledger.size().2 <= cells);

        prop_assert_eq!(one(&ledger, &Query::default()), expected(&entries, |_| true));
        let by = Query { by: vec![Field::named("agent"), Field::named("model")], ..Query::default() };
        let mut all = Sum::default();
        for (_, sum) in ledger.groups(&by) {
            all.add(&sum);
        }
        prop_assert_eq!(all, expected(&entries, |_| true));

        let during = |entry: &Booked| since <= entry.at && entry.at < since + length;
        let questions: [(Query, IsMeant); 4] = [
            (of("job", "7"), |entry| has(entry, "job", "7")),
            (of("agent", "1"), |entry| has(entry, "agent", "1")),
            (of("agent", ""), |entry| entry.tags.iter().all(|(name, _)| name != "agent")),
            (of("model", "m1"), |entry| entry.model == "m1"),
        ];
        for (query, is_meant) in questions {
            let timed = Query { since, until: since + length, ..query.clone() };
            for (query, truth) in [
                (query, expected(&entries, is_meant)),
                (timed, expected(&entries, |entry| is_meant(entry) && during(entry))),
            ] {
                let told = one(&ledger, &query);
                prop_assert!(told.calls <= truth.calls && truth.calls <= told.calls + told.folded);
                prop_assert!(told.pico_usd <= truth.pico_usd && told.counts[0] <= truth.counts[0]);
                if told.folded == 0 {
                    prop_assert_eq!(told, truth);
                }
            }
        }
    }
}

#[test]
fn a_limit_in_time_cuts_a_quarter_of_an_hour_exactly_while_its_entries_are_kept() {
    let ledger = Ledger::new(100, 100);
    for minute in 0..30 {
        ledger.book(minute * MINUTE, ["", "m", "", ""], &[], facts(1, Some(1)));
    }
    let cut = Query { since: 4 * MINUTE, until: 21 * MINUTE, ..Query::default() };
    assert_eq!(one(&ledger, &cut).calls, 17);

    let forgetful = Ledger::new(0, 100);
    for minute in 0..30 {
        forgetful.book(minute * MINUTE, ["", "m", "", ""], &[], facts(1, Some(1)));
    }
    let sum = one(&forgetful, &cut);
    assert_eq!((sum.calls, sum.folded), (0, 30));
    let whole = Query { since: 15 * MINUTE, ..Query::default() };
    assert_eq!(one(&forgetful, &whole).calls, 15);
}

#[test]
fn texts_that_look_alike_when_joined_are_different_labels() {
    let ledger = Ledger::new(10, 100);
    ledger.book(0, ["", "m", "", ""], &[("a", "1:b"), ("c", "")], facts(1, Some(1)));
    ledger.book(0, ["", "m", "", ""], &[("a", "1"), ("b1:c", "")], facts(1, Some(2)));
    ledger.book(0, ["", "m", "", "*"], &[("a", "*")], facts(1, Some(4)));
    for (column, text, pico_usd) in [("a", "1:b", 1), ("a", "1", 2), ("a", "*", 4), ("tier", "*", 4)] {
        assert_eq!(one(&ledger, &of(column, text)).pico_usd, pico_usd, "{column}={text}");
    }
}

#[test]
fn the_newest_tags_are_the_last_to_be_folded() {
    let ledger = Ledger::new(10, 100);
    for job in 0..1_000 {
        ledger.book(0, ["", "m", "", ""], &[("job", &job.to_string()), ("agent", "w")], facts(1, Some(1)));
        ledger.book(0, ["", "m", "", ""], &[("job", "steady"), ("agent", "w")], facts(1, Some(1)));
    }
    assert_eq!(one(&ledger, &of("job", "999")).calls, 1);
    assert_eq!(one(&ledger, &of("agent", "w")).calls, 2_000);
    let by = Query { by: vec![Field::named("job")], ..Query::default() };
    let folded = ledger.groups(&by).into_iter().find(|(key, _)| key[0].is_none()).expect("some were folded");
    assert!(folded.1.calls >= 800);
    assert!(ledger.size().3.columns["job"] >= 800);
}

#[test]
fn even_names_of_tags_without_end_stay_within_bounds() {
    let ledger = Ledger::new(10, 100);
    for number in 0..5_000 {
        ledger.book(number * MINUTE, ["", "m", "", ""], &[(&format!("tag{number}"), "1")], facts(1, Some(1)));
    }
    assert!(ledger.size().2 <= 100);
    assert_eq!(one(&ledger, &Query::default()).calls, 5_000);
    let old = one(&ledger, &of("tag0", "1"));
    assert_eq!(old.calls, 0);
    assert!(old.folded > 0, "nobody can know any more, and it says so");
}

#[test]
fn the_ring_keeps_the_newest() {
    let ledger = Ledger::new(3, 100);
    for number in 0..10 {
        ledger.book(number, ["", "m", "", ""], &[("n", &number.to_string())], facts(1, None));
    }
    let numbers = |query: &Query| ledger.entries(query).iter().map(|entry| entry.number).collect::<Vec<_>>();
    assert_eq!(numbers(&Query::default()), [8, 9, 10]);
    assert_eq!(numbers(&of("n", "8")), [9]);
}

#[test]
fn tokens_without_a_price_and_calls_without_a_usage_are_counted_apart() {
    let mut sum = Sum::default();
    sum.book(&facts(10, None));
    sum.book(&Facts { usage: None, ..facts(0, None) });
    sum.book(&Facts { usage: None, outcome: Outcome::Failed, ..facts(0, None) });
    assert_eq!((sum.calls, sum.unpriced, sum.unpriced_tokens, sum.unmetered, sum.failed), (3, 1, 10, 1, 1));
    assert_eq!(sum.pico_usd, 0);
}

#[test]
fn a_label_has_one_key_however_it_is_written() {
    let label = Label::new(["s", "m", "p", "t"], &[("a", "1"), ("b", "")]);
    let (mut made, mut written) = (Vec::new(), vec![7]);
    label.write_key(&mut made);
    ratekeeper::ledger::entry::write_key(&mut written, ["s", "m", "p", "t"], &[("a", "1"), ("b", "")]);
    assert_eq!(made, written);
    assert!(label.is_whole());
}
