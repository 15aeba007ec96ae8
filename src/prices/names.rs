//! Model names as people write them → a provider and the name that it has there, best guess first.
//! Knows spellings only; which models there are stands in a table.

use super::table::Table;

/// Gateways, whose models have the name of their maker in front.
const GATEWAYS: [&str; 2] = ["litellm", "litellm_proxy"];
/// Whose clients people point at gateways, so that their models may be anybody's.
const PROTOCOLS: [&str; 2] = ["openai", "anthropic"];
/// Regions and makers in front of Bedrock's model ids.
const BEDROCK_REGIONS: [&str; 9] = ["us.", "eu.", "apac.", "global.", "us-gov.", "jp.", "au.", "ca.", "sa."];
const BEDROCK_MAKERS: [&str; 12] = [
    "amazon.",
    "anthropic.",
    "meta.",
    "mistral.",
    "cohere.",
    "ai21.",
    "deepseek.",
    "qwen.",
    "openai.",
    "minimax.",
    "moonshotai.",
    "writer.",
];

/// One place to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The provider's name in the table; "" if nobody said which.
    pub home: String,
    /// The model's name there, in small letters.
    pub name: String,
}

/// Where a model can stand, in the order to look.
#[must_use]
pub fn candidates(table: &Table, model: &str, provider: &str) -> Vec<Candidate> {
    let model = plain(model);
    let told = home_of(table, provider);
    let mut found = Vec::new();
    let parts = split(table, &model);
    if let Some(home) = &told
        && parts.as_ref().is_none_or(|(first, _)| first != home)
    {
        add(&mut found, home, &model);
    }
    if let Some((home, rest)) = parts {
        add(&mut found, &home, rest);
        if let Some(told) = &told {
            add(&mut found, told, rest);
        }
        if let Some((_, rest)) = split(table, rest) {
            add(&mut found, &home, rest);
        }
        add(&mut found, &home, &model);
    } else if told.is_none_or(|home| PROTOCOLS.contains(&&*home)) {
        add(&mut found, likely(table, &model).unwrap_or_default(), &model);
    }
    found
}

/// The provider that people mean by that name.
#[must_use]
pub fn home_of(table: &Table, provider: &str) -> Option<String> {
    let provider = provider.trim().to_lowercase();
    if provider.is_empty() {
        return None;
    }
    let mut homes = table.homes();
    let exact = homes.find(|home| home.is_prefix(&provider));
    exact.or_else(|| table.homes().find(|home| home.is_called(&provider))).map(|home| home.name.to_owned())
}

/// A name in small letters, without the paths in which clouds put it.
fn plain(model: &str) -> String {
    let model = model.trim().to_lowercase();
    if model.starts_with("arn:") {
        return format!("aws/{}", model.rsplit('/').next().unwrap_or_default());
    }
    if model.starts_with("projects/") || model.starts_with("publishers/") {
        return format!("google/{}", model.rsplit('/').next().unwrap_or_default());
    }
    let mut rest = model.strip_prefix("models/").unwrap_or(&model);
    for gateway in GATEWAYS {
        rest = rest.strip_prefix(gateway).and_then(|rest| rest.strip_prefix('/')).unwrap_or(rest);
    }
    rest.to_owned()
}

/// A provider in front of a name, by a slash or, as some frameworks write it, a colon.
fn split<'a>(table: &Table, model: &'a str) -> Option<(String, &'a str)> {
    ['/', ':'].into_iter().find_map(|mark| {
        let (prefix, rest) = model.split_once(mark)?;
        let home = table.homes().find(|home| home.is_prefix(prefix))?;
        Some((home.name.to_owned(), rest))
    })
}

/// The provider that a bare name is likely one of.
fn likely<'a>(table: &'a Table, model: &str) -> Option<&'a str> {
    let bare = BEDROCK_REGIONS.iter().find_map(|region| model.strip_prefix(region)).unwrap_or(model);
    if BEDROCK_MAKERS.iter().any(|maker| bare.starts_with(maker)) {
        return table.home("aws").map(|home| home.name);
    }
    let untuned = model.strip_prefix("ft:").unwrap_or(model);
    table.homes().find(|home| home.is_likely(untuned)).map(|home| home.name)
}

/// The name and its spellings: fine-tuned, dated in another way, undated, in a region.
fn add(found: &mut Vec<Candidate>, home: &str, name: &str) {
    if home == "openrouter" {
        return push(found, home, name);
    }
    let name = name.strip_prefix("models/").unwrap_or(name);
    if let Some(tuned) = name.strip_prefix("ft:") {
        let base = tuned.split(':').next().unwrap_or_default();
        push(found, home, &format!("ft:{base}"));
        return push(found, home, &format!("ft:{}", undated(base)));
    }
    push(found, home, name);
    if home == "aws" {
        let id = name.rsplit('/').next().unwrap_or(name);
        push(found, home, id);
        let bare = BEDROCK_REGIONS.iter().find_map(|region| id.strip_prefix(region)).unwrap_or(id);
        push(found, home, bare);
    }
    let (base, version) = name.split_once('@').unwrap_or((name, ""));
    if !version.is_empty() {
        push(found, home, &format!("{base}-{version}"));
        push(found, home, base);
    }
    push(found, home, &dashed(base));
    push(found, home, undated(base));
    push(found, home, base.strip_suffix("-latest").unwrap_or(base));
}

fn push(found: &mut Vec<Candidate>, home: &str, name: &str) {
    let candidate = Candidate { home: home.to_owned(), name: name.to_owned() };
    if !found.contains(&candidate) {
        found.push(candidate);
    }
}

/// `gpt-5.2-20251211` as `gpt-5.2-2025-12-11`.
fn dashed(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((base, date)) if is_date(date) => {
            format!("{base}-{}-{}-{}", &date[..4], &date[4..6], &date[6..])
        }
        _ => name.to_owned(),
    }
}

/// The name without the date at its end, in either spelling.
fn undated(name: &str) -> &str {
    if let Some((base, date)) = name.rsplit_once('-')
        && is_date(date)
    {
        return base;
    }
    let cut = name.len().saturating_sub(11);
    match name.get(cut..) {
        Some(date) if is_dashed_date(date.as_bytes()) => &name[..cut],
        _ => name,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 8 && text.starts_with("20") && text.bytes().all(|letter| letter.is_ascii_digit())
}

fn is_dashed_date(text: &[u8]) -> bool {
    let is_digit = |(at, letter): (usize, &u8)| match at {
        0 | 5 | 8 => *letter == b'-',
        _ => letter.is_ascii_digit(),
    };
    text.len() == 11 && text.starts_with(b"-20") && text.iter().enumerate().all(is_digit)
}
