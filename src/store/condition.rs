//! Whether a store can be reached, for people. Values only.

use std::time::Duration;

use super::Policy;

/// A store as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Where it is, without what may be secret.
    pub url: String,
    /// Whether it is lost.
    pub is_lost: bool,
    /// How long it has been lost, or been there.
    pub lasting: Duration,
    /// How many processes used it when it was last seen, this one included.
    pub processes: u32,
    /// What this process does while it is lost.
    pub policy: Policy,
    /// How often it was lost.
    pub losses: u64,
    /// How many calls were granted without it.
    pub decided_alone: u64,
}

/// A store was lost, or is there again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which of both.
    pub kind: TurnKind,
    /// The store as it stood: when it comes back, how long it was lost, and how many calls were granted meanwhile.
    pub condition: Condition,
    /// Why it was lost, and what to do.
    pub why: String,
}

/// What has become of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnKind {
    /// It cannot be reached any more.
    Lost,
    /// It is there again, and has been told what was done without it.
    Back,
}
