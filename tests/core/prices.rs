//! Prices: which one holds, and what a usage costs by it, to the pico-USD.

use std::collections::HashMap;

use proptest::prelude::*;
use ratekeeper::prices::bounds::worst;
use ratekeeper::prices::moment::{Moment, When};
use ratekeeper::prices::pattern::matches;
use ratekeeper::prices::rates::{Counts, Kind, Segment, bill};
use ratekeeper::prices::table::{Home, Table};
use ratekeeper::prices::{Book, COMPILED};

/// 2026-11-21, 12:00 UTC.
const NOON: i64 = 1_795_262_400;

fn book() -> Book {
    Book::new(String::new(), None, HashMap::new(), None).expect("an empty text is a table")
}

fn id(model: &str, provider: &str) -> Option<String> {
    let found = book().find(model, provider).expect("the compiled-in rows can be read")?;
    Some(format!("{}/{}", found.provider, found.name))
}

/// The segments of a price as a table has them.
fn segments(prices: &str) -> Vec<Segment> {
    let line = format!("m\t\t\t\t{prices}");
    Table::new("").model("", &line).expect("sound prices").segments
}

fn cost(prices: &str, usage: &Counts<'_>, at: i64) -> Option<u128> {
    let bill = bill(&segments(prices), usage, Moment::from_unix(at)).expect("sound counts")?;
    let lines: u128 = bill.lines.iter().map(|line| u128::from(line.tokens) * u128::from(line.rate)).sum();
    assert_eq!(bill.total, lines);
    Some(bill.total)
}

#[test]
fn every_compiled_in_row_can_be_read_and_has_a_source_a_day_and_a_price() {
    let mut count = 0;
    for home in COMPILED.homes() {
        for line in home.lines() {
            let model = COMPILED.model(home.name, line).expect(line);
            assert!(model.date.len() == 10 && !model.source.is_empty(), "{line}");
            assert!(model.segments.iter().any(|segment| segment.rates.iter().any(Option::is_some)), "{line}");
            count += 1;
        }
    }
    assert!(count > 4000);
}

#[test]
fn every_compiled_in_model_is_found_by_its_own_name() {
    let book = book();
    for home in COMPILED.homes() {
        for line in home.lines() {
            let name = line.split('\t').next().expect("a line has parts");
            assert!(book.find(name, home.name).expect("sound rows").is_some(), "{}: {name}", home.name);
        }
    }
}

#[test]
fn names_are_found_as_people_write_them() {
    let known = [
        ("gpt-4o-mini", "", "openai/gpt-4o-mini"),
        ("GPT-4o-mini", "openai", "openai/gpt-4o-mini"),
        (" openai/gpt-4o-mini ", "", "openai/gpt-4o-mini"),
        ("openai:gpt-4o-mini", "", "openai/gpt-4o-mini"),
        ("litellm/openai/gpt-4o-mini", "", "openai/gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "", "openai/gpt-4o-mini"),
        ("gpt-4o-mini-20240718", "", "openai/gpt-4o-mini"),
        ("gpt-4o-mini-2031-01-01", "", "openai/gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:org:name:id", "", "openai/ft:gpt-4o-mini"),
        ("text-embedding-3-small", "", "openai/text-embedding-3-small"),
        ("azure/gpt-4o-mini", "", "openai/gpt-4o-mini"),
        ("gpt-4o-mini", "azure", "openai/gpt-4o-mini"),
        ("azure/eu/gpt-4o-2024-08-06", "", "azure/eu/gpt-4o-2024-08-06"),
        ("claude-haiku-4-5-20251001", "", "anthropic/claude-haiku-4-5"),
        ("claude-haiku-4-5", "openai", "anthropic/claude-haiku-4-5"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "", "aws/regional.anthropic.claude-3-haiku-20240307-v1:0"),
        ("claude-haiku-4-5@20251001", "vertex", "google/claude-haiku-4-5"),
        ("vertex_ai/claude-haiku-4-5@20251001", "", "google/claude-haiku-4-5"),
        ("models/gemini-2.5-flash", "", "google/gemini-2.5-flash"),
        ("gemini/gemini-2.5-flash", "gemini", "google/gemini-2.5-flash"),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-flash", "", "google/gemini-2.5-flash"),
        ("openrouter/anthropic/claude-sonnet-4.5", "", "openrouter/anthropic/claude-sonnet-4.5"),
        ("anthropic/claude-sonnet-4.5", "openrouter", "openrouter/anthropic/claude-sonnet-4.5"),
        ("groq/llama-3.3-70b-versatile", "", "groq/llama-3.3-70b-versatile"),
        ("xai/grok-4", "", "x-ai/grok-4-0709"),
        ("bedrock/ap-northeast-1/minimax.minimax-m2.1", "bedrock", "aws/ap-northeast-1/minimax.minimax-m2.1"),
        ("bedrock/minimax.minimax-m2.1", "bedrock", "aws/minimax.minimax-m2.1"),
    ];
    for (model, provider, expected) in known {
        assert_eq!(id(model, provider).as_deref(), Some(expected), "{model} of {provider:?}");
    }
    let sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let regional = Some(format!("aws/regional.{sonnet}"));
    for spelling in
        ["us.", "bedrock/eu.", "bedrock/converse/us.", "arn:aws:bedrock:us-east-1:1:inference-profile/us."]
    {
        assert_eq!(id(&format!("{spelling}{sonnet}"), ""), regional, "{spelling}");
    }
    assert_eq!(id(&format!("global.{sonnet}"), "bedrock"), Some(format!("aws/global.{sonnet}")));
}

#[test]
fn a_name_that_nobody_knows_has_no_price() {
    for (model, provider) in [
        ("my-model", ""),
        ("", ""),
        ("gpt-4o-mini", "groq"),
        ("gpt-4.1", "github_copilot"),
        ("ft:my-base:org::x", "openai"),
        ("ollama/llama3", ""),
    ] {
        assert_eq!(id(model, provider), None, "{model}");
    }
}

#[test]
fn own_rows_win_and_the_rest_stays() {
    let own = "#\tu\tmine\t2026-01-02\n[]\t\t\t\nopenai/gpt-4o\topenai/gpt-4o\t9\tu\t|i1 o2\nlocal-*\tlocal-*\t\tu\t|i3 o4\n";
    let deployments = HashMap::from([("Mine".to_owned(), "azure/gpt-4o-mini".to_owned())]);
    let book = Book::new(own.to_owned(), None, deployments, Some("x\t\t\t\t|i7 o7")).expect("sound rows");
    let name =
        |model, provider| book.find(model, provider).expect("sound rows").map(|found| found.name.clone());
    let found = book.find("gpt-4o", "").expect("sound rows").expect("known");
    assert_eq!(
        (found.source.as_str(), found.date.as_str(), found.max_output),
        ("mine", "2026-01-02", Some(9))
    );
    assert_eq!(name("openai/gpt-4o", "").as_deref(), Some("openai/gpt-4o"));
    assert_eq!(name("local-7b", "ollama").as_deref(), Some("local-*"));
    assert_eq!(name("gpt-4o", "anthropic").as_deref(), Some("openai/gpt-4o"));
    assert_eq!(name("gpt-4o", "azure").as_deref(), Some("gpt-4o"));
    assert_eq!(name("gpt-4o-mini", "").as_deref(), Some("gpt-4o-mini"));
    assert_eq!(name("mine", "azure").as_deref(), Some("gpt-4o-mini"));
    assert_eq!(name("azure/mine", "").as_deref(), Some("gpt-4o-mini"));
    assert!(name("nobody", "").is_none());
    assert_eq!(book.fallback().expect("was given").source, "fallback");
}

#[test]
fn a_fallback_is_a_known_model_or_nothing() {
    let fallback = |name| Book::new(String::new(), None, HashMap::new(), Some(name));
    assert_eq!(fallback("gpt-4o").expect("known").fallback().expect("given").name, "gpt-4o");
    let error = fallback("gpt-nobody").expect_err("nobody knows it");
    assert!(error.to_string().starts_with("fallback: expected"), "{error}");
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_and_not_a_price() {
    for prices in ["|i-1 o2", "|x1", "|i1>a=2", "@soon|i1", "|i1.5", "i1", "|i1>5=2>3=4", "|i9999999999999"] {
        let line = format!("m\t\t\t\t{prices}");
        assert!(Table::new("").model("", &line).is_err(), "{prices}");
    }
}

#[test]
fn a_step_counts_from_one_token_more_than_its_size_for_all_tokens() {
    let prices = "|i10>100=20>200=30 o1>100=2";
    for (input, expected) in [(100, 1001), (101, 2022), (200, 4002), (201, 6032)] {
        let usage = Counts { input, output: 1, ..Counts::default() };
        assert_eq!(cost(prices, &usage, NOON), Some(expected), "{input}");
    }
}

#[test]
fn each_token_is_charged_once_at_the_rate_of_what_it_is() {
    let usage = Counts {
        input: 1000,
        output: 100,
        cache_read: 300,
        cache_write: 200,
        reasoning: 40,
        cache_write_1h: 50,
        input_audio: 120,
        output_audio: 10,
        cache_read_audio: 20,
        tier: "",
    };
    // 500 fresh, of which 100 audio; 280 + 20 read; 150 + 50 written; 50 said, 40 thought, 10 spoken.
    let all = "|i1 o10 r100 w1000 h10000 a100000 c1000000 t10000000 b100000000 q7";
    let expected =
        400 + 500 + 28_000 + 150_000 + 500_000 + 10_000_000 + 20_000_000 + 400_000_000 + 1_000_000_000 + 7;
    assert_eq!(cost(all, &usage, NOON), Some(expected));
    // Without rates of their own, the parts are charged as what they are parts of.
    assert_eq!(cost("|i1 o10", &usage, NOON), Some(1000 + 1000));
    assert_eq!(cost("|i1 o10 r5 w7", &usage, NOON), Some(500 + 300 * 5 + 200 * 7 + 1000));
    assert_eq!(cost("|i1 o10 a5", &usage, NOON), Some(880 + 120 * 5 + 1000));
}

#[test]
fn tokens_without_a_price_make_no_bill() {
    let usage = Counts { input: 5, output: 0, ..Counts::default() };
    assert_eq!(cost("|i2", &usage, NOON), Some(10));
    assert_eq!(cost("|i2", &Counts { output: 1, ..usage }, NOON), None);
    assert_eq!(cost("|i0 o0", &Counts { output: 1, ..usage }, NOON), Some(0));
}

#[test]
fn service_tiers_replace_single_rates_and_unknown_ones_none() {
    let prices = "|i10 o20 r5;batch@20261001|i5 o10;+|h99 r77";
    let usage = |tier| Counts { input: 10, output: 1, cache_read: 4, tier, ..Counts::default() };
    assert_eq!(cost(prices, &usage(""), NOON), Some(60 + 20 + 20));
    assert_eq!(cost(prices, &usage("batch"), NOON), Some(30 + 20 + 10));
    assert_eq!(cost(prices, &usage("scale"), NOON), Some(60 + 20 + 20));
    let before = NOON - 86_400 * 60;
    assert_eq!(cost(prices, &usage("batch"), before), Some(60 + 20 + 20));
    let hour = Counts { input: 3, cache_write: 3, cache_write_1h: 3, ..Counts::default() };
    assert_eq!(cost(prices, &hour, NOON), Some(297));
}

#[test]
fn the_last_price_that_holds_is_the_price() {
    let prices = "|i1;@20261121|i2;@1600-2000|i3;@2200-0100|i4";
    let one = Counts { input: 1, ..Counts::default() };
    let at = |hours: i64| cost(prices, &one, NOON + hours * 3600);
    assert_eq!([-13, -12, 0, 3, 4, 7, 8, 10, 12].map(at), [4, 4, 2, 2, 3, 3, 2, 4, 4].map(Some));
    assert_eq!(cost(prices, &one, NOON - 86_400), Some(1));
    assert_eq!(cost("@20990101|i5;@21000101|i6", &one, NOON), Some(5));
}

#[test]
fn moments_are_those_of_the_calendar() {
    let known = [
        (0, 19_700_101, 0),
        (NOON, 20_261_121, 1200),
        (951_782_399, 20_000_228, 2359),
        (951_782_400, 20_000_229, 0),
        (1_709_164_800, 20_240_229, 0),
        (-1, 19_691_231, 2359),
        (4_102_444_799, 20_991_231, 2359),
    ];
    for (seconds, date, time) in known {
        assert_eq!(Moment::from_unix(seconds), Moment { date, time });
    }
    assert_eq!(When::read("20261121"), Some(When::Since(20_261_121)));
    assert_eq!(When::read("soon"), None);
}

#[test]
fn counts_that_no_call_can_have_are_refused_by_name() {
    let usage = Counts { input: 10, output: 10, ..Counts::default() };
    let wrong = [
        (Counts { input: u64::MAX, ..usage }, "input_tokens"),
        (Counts { cache_read: 11, ..usage }, "cache_read_tokens"),
        (Counts { cache_read: 6, cache_write: 6, ..usage }, "cache_read_tokens"),
        (Counts { cache_write: u64::MAX, ..usage }, "cache_write_tokens"),
        (Counts { reasoning: 11, ..usage }, "reasoning_tokens"),
        (Counts { cache_write_1h: 1, ..usage }, "cache_write_1h_tokens"),
        (Counts { input_audio: 11, ..usage }, "input_audio_tokens"),
        (Counts { output_audio: 11, ..usage }, "output_audio_tokens"),
        (Counts { cache_read: 3, cache_read_audio: 2, ..usage }, "cache_read_audio_tokens"),
    ];
    for (counts, field) in wrong {
        let error = counts.check().expect_err(field).to_string();
        assert!(error.starts_with(&format!("usage.{field}: expected at most")), "{error}");
    }
    assert!(usage.check().is_ok());
}

#[test]
fn patterns_match_as_they_are_described() {
    for (pattern, name, expected) in [
        ("gpt-4o", "gpt-4o", true),
        ("gpt-4o", "gpt-4o-mini", false),
        ("gpt-4o*", "gpt-4o-mini", true),
        ("*claude*haiku*", "us.claude-3-haiku-v1", true),
        ("*-v1", "a-v1-v1", true),
        ("a-####", "a-2024", true),
        ("a-####", "a-202x", false),
        ("a*!*-tts!*-tts-*", "a-tts-b", false),
        ("a*!*-tts", "a-b", true),
        ("", "", true),
        ("*", "", true),
        ("#", "", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

/// Counts within bounds, for any of the tiers.
fn within(input: u64, output: u64) -> impl Strategy<Value = Counts<'static>> {
    let tiers = prop::sample::select(vec!["", "batch", "flex", "priority", "fast"]);
    let share = || 0_u64..=100;
    ((0..=input, 0..=output), [share(), share(), share(), share()], [share(), share(), share()], tiers)
        .prop_map(|((input, output), [read, write, hour, heard], [audio, thought, spoken], tier)| {
            let cache_read = input * read / 100;
            let cache_write = (input - cache_read) * write / 100;
            let cache_read_audio = cache_read * heard / 100;
            Counts {
                input,
                output,
                cache_read,
                cache_write,
                reasoning: output * thought / 100,
                cache_write_1h: cache_write * hour / 100,
                input_audio: cache_read_audio + (input - cache_read) * audio / 100,
                output_audio: output * spoken / 100,
                cache_read_audio,
                tier,
            }
        })
}

proptest! {
    /// Whatever a model, a time within a day and a usage within the bounds: it costs no more than the worst.
    #[test]
    fn nothing_within_the_bounds_costs_more_than_the_worst(
        row in 0_usize..4000,
        usage in within(400_000, 50_000),
        at in NOON - 86_400 * 400..NOON + 86_400 * 400,
        later in 0_i64..86_400,
    ) {
        let line = COMPILED.homes().flat_map(Home::lines).nth(row).expect("there are more");
        let segments = COMPILED.model("", line).expect("sound rows").segments;
        let bound = |tier| worst(
            &segments, 400_000, 50_000, tier, Moment::from_unix(at), Moment::from_unix(at + 86_400),
        );
        if let Some(bill) = bill(&segments, &usage, Moment::from_unix(at + later)).expect("sound counts") {
            prop_assert!(bill.total <= bound(None));
            prop_assert!(bill.total <= bound(Some(usage.tier)));
        }
    }

    /// The lines of a bill have every token of the usage, once.
    #[test]
    fn a_bill_has_every_token_once(usage in within(1_000_000, 1_000_000)) {
        let all = segments("|i1 o1 r1 w1 h1 a1 c1 t1 b1");
        let bill = bill(&all, &usage, Moment::from_unix(NOON)).expect("sound counts").expect("all is priced");
        prop_assert_eq!(bill.lines.iter().map(|line| line.tokens).sum::<u64>(), usage.input + usage.output);
        prop_assert!(bill.lines.iter().all(|line| line.tokens > 0 && line.kind != Kind::Request));
    }
}
