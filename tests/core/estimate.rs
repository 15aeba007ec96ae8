//! The estimate: what text costs, and what is learned from what came back.

mod images;

use proptest::prelude::*;
use ratekeeper::estimate::{COLD_MARGIN, COLD_OUTPUT, FACTORS, Learned, MAX_MARGIN, RECENT, Tally};

const MODEL: &str = "gpt-4o-mini";
const CALLER: &str = "summary";

fn tokens(text: impl AsRef<[u8]>) -> u64 {
    let mut tally = Tally::new();
    tally.text(text.as_ref());
    tally.tokens()
}

/// A generator without a seed from outside, so that every run is the same.
struct Noise(u64);

impl Noise {
    /// Evenly spread between the two.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = u32::try_from(self.0 >> 32).expect("32 bits are left");
        low + (high - low) * f64::from(part) / f64::from(u32::MAX)
    }

    fn tokens(&mut self, low: f64, high: f64) -> u64 {
        rounded(self.between(low, high))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

/// Texts that the prices were not fitted to, the tokens that o200k has for them, and the error allowed in percent.
const SAMPLES: [(&str, u64, u64); 8] = [
    (
        "Please read the attached report and list the three risks that the board should discuss first. For each risk, give the \
         page on which it is mentioned, how likely it seems, and what it would cost to do nothing about it until the end of the year.",
        52,
        10,
    ),
    (
        "def mean(values: list[float]) -> float:\n    \"\"\"The arithmetic mean.\"\"\"\n    if not values:\n        \
         raise ValueError(\"mean of nothing\")\n    return sum(values) / len(values)\n",
        40,
        10,
    ),
    (
        r#"{"order": {"id": 48213, "lines": [{"sku": "A-17", "quantity": 2, "price": 19.99}, {"sku": "B-02", "quantity": 1, "price": 4.5}], "paid": true}}"#,
        62,
        10,
    ),
    (
        "2026-03-14T09:26:53.589Z WARN [worker-3] request 9b2f6c1e-7d40-4b8a-9c55-0e1d2f3a4b5c to /v1/orders/48213 took 2711 ms",
        70,
        10,
    ),
    (
        "Bitte lesen Sie den beigefügten Bericht und nennen Sie die drei Risiken, über die der Vorstand zuerst sprechen sollte, \
         jeweils mit der Seite, auf der sie erwähnt werden.",
        35,
        10,
    ),
    (
        "Прочитайте, пожалуйста, приложенный отчёт и назовите три риска, которые правлению следует обсудить в первую очередь, \
         с указанием страницы.",
        33,
        10,
    ),
    (
        "请阅读所附报告，列出董事会应首先讨论的三项风险，并说明每项风险出现在哪一页、发生的可能性有多大。",
        35,
        15,
    ),
    (
        "添付の報告書を読み、取締役会が最初に議論すべき三つのリスクを、記載されているページとともに挙げてください。",
        44,
        30,
    ),
];

#[test]
fn text_of_many_kinds_costs_about_what_the_o200k_vocabulary_says() {
    for (text, o200k, percent) in SAMPLES {
        let error = tokens(text).abs_diff(o200k);
        assert!(error * 100 <= percent * o200k, "{} instead of {o200k}: {text}", tokens(text));
    }
}

#[test]
fn a_chat_message_costs_what_the_api_reported() {
    let mut chat = Tally::new();
    chat.message();
    chat.text(b"Say this is a test!");
    chat.reply();
    assert_eq!(chat.tokens(), 13);
}

#[test]
fn a_name_costs_one_token_and_its_text() {
    let mut named = Tally::new();
    named.name(b"alice");
    assert_eq!(named.tokens(), 1 + tokens("alice"));
}

#[test]
fn nothing_costs_nothing() {
    assert_eq!(tokens(""), 0);
}

#[test]
fn an_unknown_pair_is_not_corrected_and_reserves_the_first_margin() {
    let mut learned = Learned::new();
    assert_eq!(learned.corrected(MODEL, CALLER, 1000), 1000);
    assert_eq!(learned.reservation(MODEL, CALLER, 1000), rounded(1000.0 * (1.0 + COLD_MARGIN)));
    assert_eq!(learned.output(MODEL, CALLER, Some(300)), 300);
    assert_eq!(learned.output(MODEL, CALLER, None), COLD_OUTPUT);
    assert!(learned.is_empty(), "asking teaches nothing");
}

#[test]
fn another_caller_of_the_same_model_is_not_corrected() {
    let mut learned = Learned::new();
    learned.observe(MODEL, CALLER, Some((100, 200)), None);
    assert_eq!(learned.corrected(MODEL, "other", 100), 100);
}

#[test]
fn feedback_of_zero_teaches_nothing() {
    let mut learned = Learned::new();
    learned.observe(MODEL, CALLER, Some((0, 50)), None);
    learned.observe(MODEL, CALLER, Some((50, 0)), None);
    assert_eq!(learned.corrected(MODEL, CALLER, 1000), 1000);
}

#[test]
fn one_absurd_measurement_moves_a_learned_factor_by_a_third_at_most() {
    let mut learned = Learned::new();
    for _ in 0..50 {
        learned.observe(MODEL, CALLER, Some((1000, 1000)), None);
    }
    learned.observe(MODEL, CALLER, Some((1, u64::MAX)), None);
    assert_eq!(learned.corrected(MODEL, CALLER, 1000), 1300);
}

#[test]
fn a_pair_whose_answers_are_steady_needs_no_margin() {
    let mut learned = Learned::new();
    for _ in 0..20 {
        learned.observe(MODEL, CALLER, Some((1000, 1500)), None);
    }
    assert_eq!(learned.corrected(MODEL, CALLER, 1000), 1500);
    assert_eq!(learned.reservation(MODEL, CALLER, 1000), 1500);
}

#[test]
fn a_reservation_holds_nineteen_calls_of_twenty() {
    let (mut learned, mut noise) = (Learned::new(), Noise(3));
    let mut short = 0;
    for call in 0..1064 {
        let (counted, real) = (1000, noise.tokens(800.0, 1600.0));
        if call >= RECENT && learned.reservation(MODEL, CALLER, counted) < real {
            short += 1;
        }
        learned.observe(MODEL, CALLER, Some((counted, real)), None);
    }
    assert!((10..=90).contains(&short), "{short} of 1000 calls exceeded their reservation");
}

#[test]
fn the_reported_error_is_that_of_the_guesses() {
    let (mut learned, mut noise) = (Learned::new(), Noise(5));
    for _ in 0..200 {
        learned.observe(MODEL, CALLER, Some((1000, noise.tokens(1800.0, 2200.0))), Some(77));
    }
    let report = &learned.report()[0];
    assert_eq!((report.model.as_str(), report.caller.as_str(), report.calls), (MODEL, CALLER, 200));
    assert!((1.9..2.1).contains(&report.factor), "{report:?}");
    assert!(report.mean_error.is_some_and(|error| (0.02..0.09).contains(&error)), "{report:?}");
    assert!(report.error_p95.is_some_and(|error| (0.07..0.16).contains(&error)), "{report:?}");
    assert!((0.05..0.16).contains(&report.margin), "{report:?}");
    assert_eq!(report.output_p95, Some(77));
}

#[test]
fn the_least_recently_used_pairs_go_when_there_is_no_room() {
    let mut learned = Learned::with_bound(8);
    for i in 0..8 {
        learned.observe(MODEL, &format!("caller {i}"), Some((100, 200)), None);
    }
    assert_eq!(learned.corrected(MODEL, "caller 0", 100), 200, "and is used by that");
    learned.observe("another model", CALLER, Some((100, 200)), None);
    assert_eq!(learned.len(), 8);
    assert_eq!(learned.corrected(MODEL, "caller 0", 100), 200);
    assert_eq!(learned.corrected(MODEL, "caller 1", 100), 100, "the oldest is forgotten");
}

#[test]
fn outputs_are_not_trusted_before_there_are_eight() {
    let mut learned = Learned::new();
    for seen in 1..=8 {
        learned.observe(MODEL, CALLER, None, Some(20));
        let expected = if seen < 8 { COLD_OUTPUT } else { 20 };
        assert_eq!(learned.output(MODEL, CALLER, None), expected, "after {seen}");
    }
}

#[test]
fn one_output_of_twenty_is_longer_than_the_quantile() {
    let mut learned = Learned::new();
    for output in 1..=64 {
        learned.observe(MODEL, CALLER, None, Some(output));
    }
    assert_eq!(learned.output(MODEL, CALLER, None), 61);
}

proptest! {
    #[test]
    fn any_bytes_can_be_counted_and_cost_at_most_three_tokens_each(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        prop_assert!(tokens(&bytes) <= 3 * bytes.len() as u64);
    }

    #[test]
    fn text_that_comes_in_pieces_costs_the_same(text in ".{0,400}", at in any::<prop::sample::Index>()) {
        let (head, tail) = text.as_bytes().split_at(at.index(text.len() + 1));
        let mut pieces = Tally::new();
        pieces.text(head);
        pieces.text(tail);
        prop_assert_eq!(pieces.tokens(), tokens(&text));
    }

    #[test]
    fn longer_text_never_costs_less_and_two_texts_about_their_sum(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        let joined = tokens([a.as_slice(), &b].concat());
        prop_assert!(joined >= tokens(&a));
        prop_assert!(joined.abs_diff(tokens(&a) + tokens(&b)) <= 4);
    }

    #[test]
    fn the_correction_stays_within_its_bounds(feedback in prop::collection::vec((any::<u64>(), any::<u64>()), 0..200)) {
        let mut learned = Learned::new();
        for (counted, real) in feedback {
            learned.observe(MODEL, CALLER, Some((counted, real)), Some(real));
        }
        for report in learned.report() {
            prop_assert!(FACTORS.contains(&report.factor));
            prop_assert!((0.0..=MAX_MARGIN).contains(&report.margin));
            prop_assert!(report.mean_error.is_none_or(|error| (0.0..=1.0).contains(&error)));
        }
        let (guess, reserved) = (learned.corrected(MODEL, CALLER, 1000), learned.reservation(MODEL, CALLER, 1000));
        prop_assert!((50..=20_000).contains(&guess));
        prop_assert!(guess <= reserved && reserved <= 30_000);
    }

    #[test]
    fn the_expected_output_is_bounded_by_max_tokens_and_by_what_was_seen(
        outputs in prop::collection::vec(0_u64..5000, 8..200), max_tokens in prop::option::of(0_u64..6000)
    ) {
        let mut learned = Learned::new();
        for output in &outputs {
            learned.observe(MODEL, CALLER, None, Some(*output));
        }
        let recent = &outputs[outputs.len().saturating_sub(RECENT)..];
        let expected = learned.output(MODEL, CALLER, max_tokens);
        let most = max_tokens.unwrap_or(u64::MAX);
        prop_assert!(expected <= most);
        prop_assert!(recent.contains(&expected) || expected == most);
        let longer = recent.iter().filter(|seen| **seen > expected).count();
        prop_assert!(expected == most || longer * 20 <= recent.len());
    }

    #[test]
    fn the_table_never_outgrows_its_bound_and_keeps_the_newest(
        bound in 1_usize..40, callers in prop::collection::vec(0_u8..100, 1..300)
    ) {
        let mut learned = Learned::with_bound(bound);
        for caller in callers {
            let caller = caller.to_string();
            learned.observe(MODEL, &caller, Some((100, 200)), None);
            prop_assert!(learned.len() <= bound);
            prop_assert_eq!(learned.report().len(), learned.len());
            prop_assert_eq!(learned.corrected(MODEL, &caller, 100), 200);
        }
    }

    #[test]
    fn after_fifty_calls_the_mean_error_is_below_five_percent(ratio in 0.2_f64..5.0, seed in any::<u64>()) {
        let (mut learned, mut noise) = (Learned::new(), Noise(seed));
        let mut errors = 0.0;
        for call in 0..150 {
            let counted = noise.tokens(200.0, 20_000.0);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let real = rounded(counted as f64 * ratio * noise.between(0.94, 1.06)).max(1);
            if call >= 50 {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let error = learned.corrected(MODEL, CALLER, counted).abs_diff(real) as f64 / real as f64;
                errors += error;
            }
            learned.observe(MODEL, CALLER, Some((counted, real)), None);
        }
        prop_assert!(errors / 100.0 < 0.05, "mean error {}", errors / 100.0);
    }
}
