//! PURE: what each program does next, from the run's journal, what BigQuery says, and what was asked for.
//!
//! One function for each program that changes something: (journal, facts, request) to an action, or nothing, or why not. The
//! programs do what it says, journal it, and ask again, so a recovery goes the ordinary way. Knows no file, no network, no clock,
//! no environment, and no program; of `api` only what a table looks like. The tables are in `docs/protocol.md`.

pub mod beside;
pub mod check;
pub mod extend;
pub mod foresee;
#[cfg(test)]
mod laws;
pub mod lost;
mod others;
pub mod restore;
pub mod run;
pub mod snapshot;
pub mod undo;
mod way;

pub use way::{Back, Happened, Over, Source, Way};
