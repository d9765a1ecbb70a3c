//! PURE: what is asked of BigQuery about each statement of a script before any of it runs, and what its answers mean.
//!
//! BigQuery's dry run of a script stops at its first DDL statement, `CALL`, `IF` or loop, so each statement is asked about by itself, behind
//! what it needs of the statements before it. What may not run is decided elsewhere (`plan::foresee`).
//! Source: <https://docs.cloud.google.com/bigquery/docs/multi-statement-queries#dry-run>.

mod answer;
mod ask;
mod cost;
mod history;
mod layout;
pub mod lint;
mod naming;
mod things;
mod words;

pub use answer::{Reading, Said, Verdict, is_of_the_syntax, other_reading, verdict};
pub use ask::{Ask, MOST, Piece, Script, distinct};
pub use cost::{Coverage, LIST_PRICE, Price, Tally, dollars, tally};
pub use history::{Change, History, Named};
pub use things::{Deeds, Thing, deeds};
