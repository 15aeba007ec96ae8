//! Prices: which one a model has, and what a usage costs by it, exact to the pico-USD.
//!
//! The table is compiled in and read where it is asked; users' own rows stand before it. No I/O and no clock: whoever asks
//! says what time it is.

pub mod bounds;
pub mod moment;
pub mod names;
pub mod pattern;
pub mod rates;
pub mod table;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use self::names::{Candidate, candidates};
use self::table::{Model, Table};
use crate::error::{Error, Result};

/// The prices this version was built with.
pub static COMPILED: LazyLock<Table> = LazyLock::new(|| Table::new(include_str!("prices/data.txt")));
/// Names whose models are remembered; beyond that all are forgotten and looked up anew.
const REMEMBERED: usize = 4096;

/// What was found for a name, by (provider, what was found) for each name.
type Found = HashMap<Box<str>, Vec<(Box<str>, Option<Arc<Model>>)>>;

/// Prices by the names of models.
#[derive(Debug)]
pub struct Book {
    /// The users' own rows, in one block.
    own: Table,
    /// The table below them; the compiled-in one unless another was given.
    other: Option<Table>,
    /// Names of deployments, in small letters → the models they are.
    deployments: HashMap<String, String>,
    /// The price of models that nobody knows.
    fallback: Option<Arc<Model>>,
    found: Mutex<Found>,
}

impl Book {
    /// A book of the compiled-in prices, or of `other` in their place, below the users' `own` rows.
    ///
    /// `fallback` is the row or the name of a model: its price is that of models that nobody knows.
    ///
    /// # Errors
    /// The fallback cannot be read, or is no known model.
    pub fn new(
        own: String,
        other: Option<String>,
        deployments: HashMap<String, String>,
        fallback: Option<&str>,
    ) -> Result<Self> {
        let own = Table::new(own);
        let lower = |(name, model): (String, String)| (name.trim().to_lowercase(), model);
        let deployments = deployments.into_iter().map(lower).collect();
        let other = other.map(Table::new);
        let mut book = Self { own, other, deployments, fallback: None, found: Mutex::default() };
        book.fallback = fallback.map(|told| book.fallback_of(told)).transpose()?;
        Ok(book)
    }

    /// A row of its own, or the name of a model.
    fn fallback_of(&self, told: &str) -> Result<Arc<Model>> {
        if told.contains('\t') {
            let source = "fallback".to_owned();
            return self.own.model("", told).map(|model| Arc::new(Model { source, ..model }));
        }
        self.find(told, "")?
            .ok_or_else(|| Error::invalid("fallback", "rates, or the name of a known model", told))
    }

    /// The model of that name, or `None`; a fallback is none.
    ///
    /// # Errors
    /// The model's row cannot be read.
    pub fn find(&self, model: &str, provider: &str) -> Result<Option<Arc<Model>>> {
        let is_here = |(known, _): &&(Box<str>, _)| **known == *provider;
        if let Some((_, found)) = self.found.lock().get(model).and_then(|known| known.iter().find(is_here)) {
            return Ok(found.clone());
        }
        let found = self.look_up(model, provider)?.map(Arc::new);
        let mut known = self.found.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.entry(model.into()).or_default().push((provider.into(), found.clone()));
        Ok(found)
    }

    /// The price of models that nobody knows.
    #[must_use]
    pub fn fallback(&self) -> Option<&Arc<Model>> {
        self.fallback.as_ref()
    }

    /// How the table below the users' own calls a provider; what it does not know stays as it is.
    #[must_use]
    pub fn home_of(&self, provider: &str) -> String {
        names::home_of(self.table(), provider).unwrap_or_else(|| provider.trim().to_lowercase())
    }

    /// The names of all models, with their providers in front.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let homes = self.own.homes().chain(self.table().homes());
        let named = homes.flat_map(|home| home.lines().map(move |line| (home, line)));
        let name = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        named
            .map(|(home, line)| match home.name {
                "" => name(line),
                home => format!("{home}/{}", name(line)),
            })
            .collect()
    }

    fn table(&self) -> &Table {
        self.other.as_ref().unwrap_or(&COMPILED)
    }

    fn look_up(&self, model: &str, provider: &str) -> Result<Option<Model>> {
        let (model, provider) = self.deployed(model, provider);
        let table = self.table();
        let places = candidates(table, model, provider);
        if let Some(line) = self.own_line(model, provider, &places) {
            return self.own.model("", line).map(Some);
        }
        for Candidate { home, name } in &places {
            let Some(home) = table.home(home) else { continue };
            let mut homes =
                std::iter::once(home).chain(home.fallbacks().filter_map(|other| table.home(other)));
            if let Some((home, line)) = homes.find_map(|home| Some((home, home.find(name)?))) {
                return table.model(home.name, line).map(Some);
            }
        }
        self.only_one(&places)
    }

    /// A deployment is written alone, or with the provider in front.
    fn deployed<'a>(&'a self, model: &'a str, provider: &'a str) -> (&'a str, &'a str) {
        let name = model.trim().to_lowercase();
        let names = [format!("{}/{name}", provider.to_lowercase()), name];
        let meant = names.iter().find_map(|name| {
            self.deployments.get(name).or_else(|| self.deployments.get(name.split_once('/')?.1))
        });
        // What it is says whose it is, or else the provider that was told.
        meant.map_or((model, provider), |meant| {
            (meant.as_str(), if meant.contains('/') { "" } else { provider })
        })
    }

    /// The users' row for a name as it was written, or for what it stands for.
    fn own_line(&self, model: &str, provider: &str, places: &[Candidate]) -> Option<&str> {
        let home = self.own.home("")?;
        let written = model.trim().to_lowercase();
        let with_provider = format!("{}/{written}", self.home_of(provider));
        let whole = places.iter().map(|place| format!("{}/{}", place.home, place.name));
        let parts = places.iter().map(|place| place.name.clone());
        let names: Vec<String> = [with_provider, written].into_iter().chain(whole).chain(parts).collect();
        let exact = names.iter().find_map(|name| home.find_exact(name));
        exact.or_else(|| names.iter().find_map(|name| home.find(name)))
    }

    /// A bare name that exactly one provider has.
    fn only_one(&self, places: &[Candidate]) -> Result<Option<Model>> {
        let [place, ..] = places else { return Ok(None) };
        if !place.home.is_empty() {
            return Ok(None);
        }
        let table = self.table();
        let mut having = table.homes().filter_map(|home| Some((home, home.find_exact(&place.name)?)));
        match (having.next(), having.next()) {
            (Some((home, line)), None) => table.model(home.name, line).map(Some),
            _ => Ok(None),
        }
    }
}
