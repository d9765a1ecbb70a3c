//! What the five programs share. The rooms, from the pure to the thin:
//!
//! `names`, `expect`, `meta`, `record`, `state`, `plan`, `sql`, `fingerprint`, `foreign` decide and say, and touch nothing; `tables`, `stream`, `source` and `params` read
//! what is given; `backup` finds files and looks into them; `journal` keeps what happened; `api` speaks with BigQuery; `perform` joins the two; `rivals` looks for other runs;
//! `tool` is everybody's `main`. `crash` is where the tests kill.

pub mod api;
pub mod backup;
pub mod beyond;
pub mod clock;
pub mod count;
mod crash;
pub mod deadline;
pub mod exit;
pub mod expect;
pub mod failing;
mod findings;
pub mod fingerprint;
pub mod foreign;
pub mod foresight;
mod foretold;
pub mod journal;
pub mod list;
pub mod meta;
pub mod migration;
pub mod names;
pub mod output;
pub mod params;
pub mod perform;
pub mod place;
pub mod plan;
mod pointer;
pub mod progress;
pub mod record;
pub mod retarget;
pub mod rivals;
pub mod runs;
pub mod scan;
pub mod script;
pub mod source;
pub mod sql;
pub mod state;
pub mod stream;
pub mod tables;
pub mod tool;
pub mod variables;
